"""A server that speaks S3, for tests and for the processes that they start."""

import logging
import os
from contextlib import contextmanager, suppress


@contextmanager
def serving():
    """The environment that its clients need, with a bucket named `bucket` on it."""
    import s3fs
    from moto import server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    given = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        s3fs.S3FileSystem.clear_instance_cache()
        with suppress(FileExistsError):  # another server of this process made it: they share what they hold
            s3fs.S3FileSystem().mkdir("bucket")
        yield given
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        running.stop()
