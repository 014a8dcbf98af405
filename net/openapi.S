/* The interface's description, as it is in docs/, for GET /openapi.yaml. OPENAPI_FILE comes from the build. */
        .section .rodata
        .global openapi_begin
        .global openapi_end
openapi_begin:
        .incbin OPENAPI_FILE
openapi_end:
        .byte 0
        .section .note.GNU-stack,"",%progbits
