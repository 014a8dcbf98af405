"""copy_rows.py - when COPY is quicker than INSERT ... SELECT FROM unnest(): figures for persist.copy_rows, no verdict.

    copy_rows.py --repeats 3        tests/persister/run copy is the way to start it

A backlog in batches of one hold each is carried into empty databases, in transactions of several sizes, once with COPY always
and once with unnest always, in turns. What is told is the time of a transaction (transaction_us_sum / transactions).
"""
import argparse
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

from postgres import Postgres
from stage import BINARY, Persister, Server, wait_for

WAYS = {"copy": 1, "unnest": 1 << 20}


def carry(postgres, data, name, size, copy_rows):
    """Microseconds of a transaction, and records in it."""
    persister = Persister(data, postgres.uri(postgres.database(name)), "--persist.batch_records", size, "--persist.copy_rows", copy_rows)
    wait_for(lambda: persister.metric("lag_records") == 0, seconds=300)
    transactions, records, us = (persister.metric(f"{figure}") for figure in ("transactions_total", "records_total", "transaction_us_sum"))
    copied = persister.metric("rows_copied_total")
    assert (copied > 0) == (copy_rows == 1)
    persister.stop()
    postgres.sql(f'DROP DATABASE "{name}"')
    return us / transactions, records / transactions


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="16,32,64,128,256,512,1024,4096")
    parser.add_argument("--holds", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # with all that was started
    sizes = list(map(int, arguments.sizes.split(",")))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-copy-", dir="/var/tmp"))
    data = folder / "data"
    postgres = Postgres(shared_buffers="256MB", max_wal_size="4GB")
    try:
        server = Server(data, shards=1)
        Persister(data, postgres.uri(postgres.database("first"))).stop()  # from here on the server keeps what has to be carried
        done = subprocess.run(
            [BINARY, "load", "hall", "--resp", f"127.0.0.1:{server.resp}", "--buyers", str(arguments.holds), "--rows", "500", "--seats-per-row",
             "500", "--party-max", "1", "--best-share", "0", "--zipf", "0", "--connections", "1"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        server.stop()
        print(f"{'records a transaction':<24}{'copy, us':>12}{'unnest, us':>12}{'copy/unnest':>14}   (median of {arguments.repeats})")
        for size in sizes:
            us = {name: [] for name in WAYS}
            for repeat in range(arguments.repeats):
                for name, copy_rows in WAYS.items():
                    time_us, records = carry(postgres, data, f"{name}{size}-{repeat}", size, copy_rows)
                    us[name].append(time_us)
            copy, unnest = statistics.median(us["copy"]), statistics.median(us["unnest"])
            print(f"{records:<24.1f}{copy:>12,.0f}{unnest:>12,.0f}{copy / unnest:>14.2f}", flush=True)
    finally:
        postgres.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
