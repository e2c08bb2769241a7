package vcenter_test

import (
	"bytes"
	"context"
	"crypto/sha1" // #nosec: what VDDK calls a thumbprint
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/vcenter"
)

// A rawDisk speaks the disk port's protocol as a library without a conscience
// would, whose calls nobody has checked.
type rawDisk struct {
	net.Conn
	t      *testing.T
	tag    uint64
	handle uint32
}

// A rawCall is a request as it crosses the wire.
type rawCall struct {
	op              uint32
	sector, sectors uint64
	payload         []byte
}

const (
	opConnect = iota + 1
	opOpen
	opRead
	opWrite
	opFlush
	opBlocks
	opClose
)

const diskBanner = "220 VMware Authentication Daemon Version 1.10: SSL Required, ServerDaemonProtocol:SOAP, MKSDisplayProtocol:VNC , , NFCSSL supported\r\n"

func dialDisk(t *testing.T, s *vcenter.Server) *rawDisk {
	t.Helper()
	host, port := s.DiskPort()
	c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	banner := make([]byte, len(diskBanner))
	if _, err := io.ReadFull(c, banner); err != nil || string(banner) != diskBanner {
		t.Fatalf("it greets with %q, %v", banner, err)
	}
	return &rawDisk{Conn: c, t: t}
}

// call returns the error's number, 0 without one, and the answer.
func (d *rawDisk) call(c rawCall) (uint32, []byte) {
	d.t.Helper()
	d.tag++
	le := binary.LittleEndian
	b := le.AppendUint32(nil, c.op)
	b = le.AppendUint32(b, d.handle)
	b = le.AppendUint32(b, uint32(len(c.payload)))
	b = le.AppendUint32(b, 0)
	for _, n := range []uint64{d.tag, c.sector, c.sectors} {
		b = le.AppendUint64(b, n)
	}
	if _, err := d.Write(append(b, c.payload...)); err != nil {
		d.t.Fatal(err)
	}
	var head [24]byte
	if _, err := io.ReadFull(d, head[:]); err != nil {
		d.t.Fatal(err)
	}
	if tag := le.Uint64(head[0:]); tag != d.tag {
		d.t.Fatalf("answer to call %d, want %d", tag, d.tag)
	}
	out := make([]byte, le.Uint64(head[16:]))
	if _, err := io.ReadFull(d, out); err != nil {
		d.t.Fatal(err)
	}
	return le.Uint32(head[8:]), out
}

// printOf is VDDK's word for the SHA-1 of the certificate.
func printOf(s *vcenter.Server) string {
	sum := sha1.Sum(s.Certificate().Raw)
	return strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% x:", sum[:]), " ", ":"), ":")
}

func texts(list ...string) (b []byte) {
	for _, s := range list {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return b
}

// openDisk opens a disk for reading or writing.
func openDisk(t *testing.T, s *vcenter.Server, vm, snapshot, file string, writable bool) *rawDisk {
	t.Helper()
	d := dialDisk(t, s)
	way, flags := "ro", uint64(4)
	if writable {
		way, flags = "rw", 0
	}
	login := texts("vddk 1", "moref="+vm, "127.0.0.1", "0", printOf(s), "password", user, password, snapshot, "nbd", way)
	if code, log := d.call(rawCall{op: opConnect, payload: login}); code != 0 {
		t.Fatalf("connect: error %d: %s", code, log)
	}
	code, out := d.call(rawCall{op: opOpen, sectors: flags, payload: []byte(file)})
	if code != 0 {
		t.Fatalf("open: error %d: %s", code, out)
	}
	d.handle = binary.LittleEndian.Uint32(out[8:])
	return d
}

func chunks(sectors uint64) []byte { return binary.LittleEndian.AppendUint64(nil, sectors) }

func TestCallsThatNoHostTakes(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", Disks: []vcenter.DiskSpec{{Size: 40 << 30, Thin: true}}}).Reference().Value
	const total = 40 << 30 / 512
	reader := openDisk(t, s, vm, "", "[ds1] vm/vm.vmdk", false)
	for name, c := range map[string]struct {
		call rawCall
		want uint32
	}{
		"nothing":                       {rawCall{op: opRead}, 3},
		"from behind the end":           {rawCall{op: opRead, sector: total, sectors: 1}, 16007},
		"over the end":                  {rawCall{op: opRead, sector: total - 1, sectors: 2}, 16007},
		"from far behind":               {rawCall{op: opRead, sector: 1 << 63, sectors: 1 << 63}, 16007},
		"too much":                      {rawCall{op: opRead, sectors: 64<<11 + 1}, 3},
		"a write into what is read":     {rawCall{op: opWrite, sectors: 1, payload: make([]byte, 512)}, 11},
		"a write of another length":     {rawCall{op: opWrite, sectors: 2, payload: make([]byte, 512)}, 3},
		"chunks of 64 sectors":          {rawCall{op: opBlocks, sectors: 128, payload: chunks(64)}, 3},
		"chunks of no power of two":     {rawCall{op: opBlocks, sectors: 192, payload: chunks(192)}, 3},
		"chunks of 128 MiB":             {rawCall{op: opBlocks, sectors: 1 << 18, payload: chunks(1 << 18)}, 3},
		"from the middle of a chunk":    {rawCall{op: opBlocks, sector: 1, sectors: 128, payload: chunks(128)}, 3},
		"to the middle of a chunk":      {rawCall{op: opBlocks, sectors: 130, payload: chunks(128)}, 3},
		"more chunks than a call takes": {rawCall{op: opBlocks, sectors: 128 * (512<<10 + 1), payload: chunks(128)}, 3},
		"as many as it takes":           {rawCall{op: opBlocks, sectors: 128 * 512 << 10, payload: chunks(128)}, 0},
		"chunks behind the end":         {rawCall{op: opBlocks, sector: total, sectors: 128, payload: chunks(128)}, 16007},
		"chunks of no size":             {rawCall{op: opBlocks, sectors: 128}, 3},
		"connecting again":              {rawCall{op: opConnect, payload: texts("vddk 1")}, 3},
	} {
		if code, log := reader.call(c.call); code != c.want {
			t.Errorf("%s: got error %d (%.80s), want %d", name, code, log, c.want)
		}
	}
	reader.handle += 100
	if code, _ := reader.call(rawCall{op: opRead, sectors: 1}); code != 3 {
		t.Errorf("a handle that is not open: got error %d", code)
	}
}

func TestADiskPortHangsUpOnWhatItDoesNotUnderstand(t *testing.T) {
	s := start(t)
	for name, bytes := range map[string][]byte{
		"HTTP":            []byte("GET / HTTP/1.1\r\nHost: somewhere.example\r\n\r\n\r\n"),
		"another call":    append(binary.LittleEndian.AppendUint32(nil, opRead), make([]byte, 36)...),
		"a huge login":    append(append(binary.LittleEndian.AppendUint32(nil, opConnect), 0, 0, 0, 0, 255, 255, 255, 255), make([]byte, 28)...),
		"an unknown call": append(binary.LittleEndian.AppendUint32(nil, 99), make([]byte, 36)...),
	} {
		d := dialDisk(t, s)
		if _, err := d.Write(bytes); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: got an answer of %d bytes", name, n)
		}
	}
}

// What VDDK writes is the guest's: changed areas, the flat file and the next
// start of the simulator have it.
func TestWritesOfADiskPort(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	kept := func(c *vcenter.Config) {
		c.Dir, c.StateDir, c.InstanceUUID = dir, state, "4c4c4544-0000-1000-8000-000000000001"
	}
	s := start(t, kept)
	c := dial(t, s)
	vm := machine(t, s, c, vcenter.VMSpec{Name: "vm", ChangeTracking: true, PowerOn: true, Disks: []vcenter.DiskSpec{{Size: 8 * mib, Thin: true}}})
	first := snapshot(t, vm, "first")
	since := frozen(t, vm, first)[0].Backing.(*types.VirtualDiskFlatVer2BackingInfo).ChangeId
	removeSnapshot(t, vm, first, false)
	done2(t)(vm.PowerOff(context.Background()))
	content := random(3 * 512)
	d := openDisk(t, s, vm.Reference().Value, "", "[ds1] vm/vm.vmdk", true)
	if code, log := d.call(rawCall{op: opWrite, sector: 4096, sectors: 3, payload: content}); code != 0 {
		t.Fatalf("write: error %d: %s", code, log)
	}
	for _, op := range []uint32{opFlush, opClose} {
		if code, log := d.call(rawCall{op: op}); code != 0 {
			t.Fatalf("call %d: error %d: %s", op, code, log)
		}
	}
	second := snapshot(t, vm, "second")
	areas, _, err := changed(vm, &second, frozen(t, vm, second)[0], since)
	if err != nil || len(areas) != 1 || areas[0].Offset != 2*mib {
		t.Errorf("changed areas: %v, %v", areas, err)
	}
	ref := vm.Reference().Value
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, kept)
	g, err := s.Disk(ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(content))
	if _, err := g.ReadAt(got, 2*mib); err != nil || !bytes.Equal(got, content) {
		t.Errorf("after the next start it holds other bytes (%v)", err)
	}
}
