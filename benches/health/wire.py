"""The far end of a wire: every address behind a TUN device accepts every TCP connection, and says no more.

wire.py NAME CORE. It looks for packets all the time, so that nobody who sends one has to wake it, as with a card.
"""

import fcntl
import os
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SYN, RST, ACK = 0x02, 0x04, 0x10


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def answer(packet):
    """The SYN-ACK to a SYN."""
    header = (packet[0] & 15) * 4
    ends, ports = packet[16:20] + packet[12:16], packet[header + 2 : header + 4] + packet[header : header + 2]
    (seq,) = struct.unpack_from("!I", packet, header + 4)
    tcp = struct.pack("!4sIIBBHHH", ports, 1, (seq + 1) & 0xFFFFFFFF, 0x50, SYN | ACK, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(ends + struct.pack("!HH", 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH8s", 0x45, 0, 40, 0, 0, 64, 6, 0, ends)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


name, core = sys.argv[1], int(sys.argv[2])
os.sched_setaffinity(0, {core})
tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN | IFF_NO_PI))
print("ready", flush=True)
while True:
    try:
        packet = os.read(tun, 2048)
    except BlockingIOError:
        continue
    is_tcp = packet[0] >> 4 == 4 and packet[9] == 6
    if is_tcp and packet[(packet[0] & 15) * 4 + 13] & (SYN | RST | ACK) == SYN:
        os.write(tun, answer(packet))
