package vcenter

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"
)

// What is taken for the parameters of a connection is exactly what would be
// written for them, and whatever else arrives is refused without a panic.
func FuzzDiskLogin(f *testing.F) {
	encode := func(list ...string) (b []byte) {
		for _, s := range list {
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
		}
		return b
	}
	f.Add(encode("vddk 1", "moref=vm-1", "host", "443", "AA:BB", "password", "me", "secret", "snapshot-1", "nbd", "ro"))
	f.Add(encode("vddk 1", "", "", "0", "", "session", "", "", "", "", "rw"))
	f.Add([]byte{255, 255, 255, 255, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseDiskLogin(b)
		if err != nil {
			return
		}
		way, mode := "password", "rw"
		if l.session {
			way = "session"
		}
		if l.readOnly {
			mode = "ro"
		}
		again, err := parseDiskLogin(encode("vddk 1", l.vm, l.server, strconv.Itoa(l.port), l.thumbprint, way, l.user, l.secret, l.snapshot, l.transports, mode))
		if err != nil || again != l {
			t.Errorf("got %+v (%v) of %+v", again, err, l)
		}
	})
}

// A request is taken with as many bytes as it says, or refused.
func FuzzDiskCall(f *testing.F) {
	f.Add(append(binary.LittleEndian.AppendUint32(nil, diskFlush), make([]byte, 36)...))
	f.Add(append([]byte{diskOpen, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}, make([]byte, 30)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		c, err := readDiskCall(r)
		if err != nil {
			return
		}
		if got, want := len(b)-r.Len(), diskHeadLength+len(c.payload); got != want || diskOps[c.op] == "" || int(c.length) != len(c.payload) {
			t.Errorf("took %d bytes, want %d, for %+v", got, want, c.diskHead)
		}
	})
}
