package nbd_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vappvault/vappvault/internal/extent"
	"github.com/vappvault/vappvault/internal/nbd"
)

// run runs a program and returns what it prints.
func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(soon(t), program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s%s", program, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func uri(sock, export string) string { return "nbd+unix:///" + export + "?socket=" + sock }

// image is a disk with content at the beginning, in the middle and at an odd
// end, and what it holds.
func image(t testing.TB) (path string, content []byte) {
	t.Helper()
	const size = 32*mib + 1536
	pieces := map[int64][]byte{0: noise(mib, 1), 3 * mib: noise(5*mib+4096, 2), size - 70000: noise(70000, 3)}
	content = make([]byte, size)
	for off, b := range pieces {
		copy(content[off:], b)
	}
	return file(t, size, pieces), content
}

func equal(t testing.TB, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs", path)
	}
}

func TestNbdinfoSeesWhatIsServed(t *testing.T) {
	leaks(t)
	path, _ := image(t)
	disk := openDisk(t, path)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{
		{Name: "ro", Description: "web01, disk 2000", Backend: disk, ReadOnly: true},
		{Name: "rw", Backend: disk, BlockSize: 512},
	}}))
	var got struct {
		Exports []map[string]any `json:"exports"`
	}
	if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--list", "--json", uri(sock, ""))), &got); err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]any{
		{
			"export-name": "ro", "description": "web01, disk 2000", "export-size": 32.0*mib + 1536,
			"is_read_only": true, "can_multi_conn": true, "can_df": true, "can_flush": true,
			"can_fua": false, "can_trim": false, "can_zero": false, "block_size_minimum": 1.0, "block_size_maximum": 32.0 * mib,
		},
		{
			"export-name": "rw", "export-size": 32.0*mib + 1536, "is_read_only": false, "can_multi_conn": true,
			"can_fua": true, "can_trim": true, "can_zero": true, "can_flush": true, "can_cache": false,
			"can_fast_zero": false, "block_size_minimum": 512.0,
		},
	} {
		if len(got.Exports) != 2 {
			t.Fatalf("got %v", got.Exports)
		}
		for key, value := range want {
			if got.Exports[i][key] != value {
				t.Errorf("%s: got %v, want %v", key, got.Exports[i][key], value)
			}
		}
		contexts, _ := got.Exports[i]["contexts"].([]any)
		if len(contexts) != 1 || contexts[0] != "base:allocation" {
			t.Errorf("contexts: got %v", contexts)
		}
	}
	if got := strings.Fields(run(t, "nbdinfo", "--map", uri(sock, "ro"))); strings.Join(got, " ") !=
		"0 1048576 0 data 1048576 2097152 3 hole,zero 3145728 5246976 0 data 8392704 25092096 3 hole,zero 33484800 71168 0 data" {
		t.Errorf("map: got %v", got)
	}
}

func TestNbdcopyCopiesBothWays(t *testing.T) {
	leaks(t)
	path, content := image(t)
	empty := file(t, int64(len(content)), nil)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{
		{Name: "from", Backend: openDisk(t, path), ReadOnly: true},
		{Name: "to", Backend: openDisk(t, empty)},
	}}))
	out := filepath.Join(t.TempDir(), "out")
	run(t, "nbdcopy", uri(sock, "from"), out)
	equal(t, out, content)
	// The holes came through as such.
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 8*mib {
		t.Errorf("a copy of 6 MiB takes %d bytes", used)
	}
	run(t, "nbdcopy", "--synchronous", "--no-extents", uri(sock, "from"), out)
	equal(t, out, content)
	run(t, "nbdcopy", "--flush", out, uri(sock, "to"))
	equal(t, empty, content)
	run(t, "nbdcopy", "--connections=8", "--requests=64", "--request-size=4096", uri(sock, "from"), uri(sock, "to"))
	equal(t, empty, content)
}

func TestQemuImgReadsAndWrites(t *testing.T) {
	leaks(t)
	path, content := image(t)
	empty := file(t, int64(len(content)), nil)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{
		{Name: "from", Backend: openDisk(t, path), ReadOnly: true},
		{Name: "to", Backend: openDisk(t, empty)},
	}}))
	if got := run(t, "qemu-img", "info", uri(sock, "from")); !strings.Contains(got, "(33555968 bytes)") {
		t.Errorf("info: got %s", got)
	}
	qcow := filepath.Join(t.TempDir(), "disk.qcow2")
	run(t, "qemu-img", "convert", "-O", "qcow2", uri(sock, "from"), qcow)
	run(t, "qemu-img", "compare", uri(sock, "from"), qcow)
	run(t, "qemu-img", "convert", "-n", "-O", "raw", qcow, uri(sock, "to"))
	equal(t, empty, content)
	run(t, "qemu-img", "compare", uri(sock, "from"), uri(sock, "to"))
	var areas []struct {
		Start, Length int64
		Zero          bool
	}
	if err := json.Unmarshal([]byte(run(t, "qemu-img", "map", "--output=json", uri(sock, "from"))), &areas); err != nil {
		t.Fatal(err)
	}
	var data extent.Set
	for _, a := range areas {
		if !a.Zero {
			data = data.Add(extent.Extent{Offset: a.Start, Length: a.Length})
		}
	}
	if len(data) != 3 || data[1] != (extent.Extent{Offset: 3 * mib, Length: 5*mib + 4096}) {
		t.Errorf("map: got %v", data)
	}
}

func TestQemuIOWritesAndReads(t *testing.T) {
	leaks(t)
	path := file(t, 64*mib, nil)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Name: "a b", Backend: openDisk(t, path)}}}))
	args := []string{"-f", "raw", "--image-opts", "driver=nbd,export=a b,server.type=unix,server.path=" + sock}
	args = args[2:]
	for _, c := range []string{
		"write -P 7 0 8M", "write -f -P 8 1M 64k", "write -z 2M 1M", "write -z -u 3M 1M", "discard 4M 1M",
		"aio_write -P 9 5M 4M", "aio_write -P 10 9M 4M", "aio_flush", "flush",
		"read -P 7 0 1M", "read -P 8 1M 64k", "read -P 0 2M 2M", "read -P 9 5M 4M", "read -P 10 9M 4M", "read -P 0 13M 51M",
	} {
		args = append(args, "-c", c)
	}
	got := run(t, "qemu-io", args...)
	if strings.Contains(got, "failed") || strings.Contains(got, "error") {
		t.Errorf("got %s", got)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int]byte{0: 7, mib: 8, 2 * mib: 0, 3 * mib: 0, 5 * mib: 9, 9 * mib: 10, 13 * mib: 0} {
		if b[off] != want {
			t.Errorf("at %d: got %d, want %d", off, b[off], want)
		}
	}
}

func TestNbdkitPassesOn(t *testing.T) {
	leaks(t)
	path, content := image(t)
	disk := openDisk(t, path)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Name: "x", Backend: disk}}}))
	c := dial(t, nbdkit(t, "nbd", "socket="+sock, "export=x", "shared=true"), nbd.Options{Connections: 2})
	holes(t, c, content)
	work(t, c, content[:32*mib], 1)
	got := make([]byte, len(content))
	if err := c.ReadAt(t.Context(), got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Error("the disk differs")
	}
	equal(t, path, content)
}

func TestClientAndServer(t *testing.T) {
	leaks(t)
	path, content := image(t)
	sock := serve(t, complain(t, &nbd.Server{Exports: []nbd.Export{{Name: "x", Backend: openDisk(t, path), BlockSize: 512}}}))
	c := dial(t, sock, nbd.Options{Export: "x", Connections: 3})
	holes(t, c, content)
	work(t, c, content[:32*mib], 512)
	got := make([]byte, len(content))
	if err := c.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the disk differs: %v", err)
	}
	equal(t, path, content)
}
