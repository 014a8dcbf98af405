/* The rules in SQL, for dual_postgres.c. DUAL_RUN_FILE comes from the build. */
        .section .rodata
        .global dual_run_sql
dual_run_sql:
        .incbin DUAL_RUN_FILE
        .byte 0
        .section .note.GNU-stack,"",%progbits
