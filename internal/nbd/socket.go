package nbd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// room is how many bytes of data a Unix socket is to hold for its reader, as far as
// net.core.wmem_max allows. The system's own choice is a fifth of a read of
// 1 MiB: both ends would sleep and wake again and again for every one.
const room = 512 << 10

// widen makes room in what we send. A TCP connection is left alone: it finds
// out by itself what the line can take.
func widen(conn net.Conn) {
	if unix, ok := conn.(*net.UnixConn); ok {
		_ = unix.SetWriteBuffer(room) // goes on as it was
	}
}

// Pair returns two ends of one connection that has no name: for NewClient, and
// for a server that is started with it, as nbdkit --single is.
func Pair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pair of sockets: %w", err)
	}
	// What the server sends waits at its end.
	_ = syscall.SetsockoptInt(fds[1], syscall.SOL_SOCKET, syscall.SO_SNDBUF, room) // else it is as it was
	mine, theirs := os.NewFile(uintptr(fds[0]), "nbd"), os.NewFile(uintptr(fds[1]), "nbd")
	ours, err = net.FileConn(mine)
	if err := errors.Join(err, mine.Close()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("pair of sockets: %w", err), theirs.Close())
	}
	return ours, theirs, nil
}
