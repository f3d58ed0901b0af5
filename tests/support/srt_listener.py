"""A listener of libsrt's own: keeps what each connection brings in a file of its own.

    srt_listener.py ADDRESS PORT FOLDER [passphrase=TEXT] [pbkeylen=N] [refuse=TEXT:CODE]

Writes FOLDER/0.ts, FOLDER/1.ts and so on, FOLDER/0.id with the stream id, and FOLDER/0.end once a connection is
over. Says "listening" when it does. A stream id that contains TEXT is refused with CODE.
"""

import ctypes
import glob
import os
import socket
import struct
import sys

# Places of options in libsrt's SRT_SOCKOPT.
PASSPHRASE, PBKEYLEN, STREAM_ID = 26, 27, 46

HOOK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)


def library():
    for name in sorted(glob.glob("/usr/lib/*/libsrt*.so.1*")):
        return ctypes.CDLL(name)
    sys.exit("no libsrt: apt-get install srt-tools")


def check(srt, result, what):
    if result < 0:
        srt.srt_getlasterror_str.restype = ctypes.c_char_p
        sys.exit(f"{what}: {srt.srt_getlasterror_str().decode()}")
    return result


def main():
    address, port, folder, *rest = sys.argv[1:]
    options = dict(option.split("=", 1) for option in rest)
    srt = library()
    srt.srt_startup()
    # Refusals are what some tests are about: no words about them.
    srt.srt_setloglevel(2)
    listener = check(srt, srt.srt_create_socket(), "socket")
    if "passphrase" in options:
        text = options["passphrase"].encode()
        check(srt, srt.srt_setsockflag(listener, PASSPHRASE, text, len(text)), "passphrase")
    if "pbkeylen" in options:
        length = ctypes.c_int(int(options["pbkeylen"]))
        check(srt, srt.srt_setsockflag(listener, PBKEYLEN, ctypes.byref(length), 4), "pbkeylen")

    @HOOK
    def hook(_, caller, __, ___, stream_id):
        text, _, code = options.get("refuse", "").rpartition(":")
        if text and text.encode() in (stream_id or b""):
            srt.srt_setrejectreason(caller, int(code))
            return -1
        return 0

    srt.srt_listen_callback(listener, hook, None)
    name = struct.pack("<H", socket.AF_INET) + struct.pack(">H", int(port)) + socket.inet_aton(address) + bytes(8)
    check(srt, srt.srt_bind(listener, name, len(name)), "bind")
    check(srt, srt.srt_listen(listener, 4), "listen")
    print("listening", flush=True)
    buffer = ctypes.create_string_buffer(2048)
    number = 0
    while True:
        caller = check(srt, srt.srt_accept(listener, None, None), "accept")
        text, length = ctypes.create_string_buffer(513), ctypes.c_int(513)
        check(srt, srt.srt_getsockflag(caller, STREAM_ID, text, ctypes.byref(length)), "stream id")
        place = os.path.join(folder, str(number))
        with open(place + ".id", "wb") as out:
            out.write(text.raw[: length.value])
        with open(place + ".ts", "wb", buffering=0) as out:
            while True:
                got = srt.srt_recvmsg(caller, buffer, len(buffer))
                if got <= 0:
                    break
                out.write(buffer.raw[:got])
        srt.srt_close(caller)
        open(place + ".end", "wb").close()
        number += 1


main()
