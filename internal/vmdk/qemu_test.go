package vmdk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// qemuImg runs qemu-img, the only other reader and writer of the format at
// hand.
func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("qemu-img is not installed")
		}
		t.Skip("qemu-img is not installed; apt install qemu-utils")
	}
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestQemuReadsWhatIsWritten(t *testing.T) {
	for _, c := range images[1:] { // qemu-img knows no disk of no bytes
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			raw, vmdk := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.vmdk")
			if err := os.WriteFile(raw, c.image, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(vmdk)
			if err != nil {
				t.Fatal(err)
			}
			encode(t, f, c.image)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			qemuImg(t, "check", "-f", "vmdk", vmdk)
			qemuImg(t, "compare", "-f", "raw", "-F", "vmdk", raw, vmdk)
			out := filepath.Join(dir, "back.raw")
			qemuImg(t, "convert", "-f", "vmdk", "-O", "raw", vmdk, out)
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.image) {
				t.Error("the converted image differs")
			}
		})
	}
}

func TestWhatQemuWritesIsRead(t *testing.T) {
	for _, c := range images[1:] { // qemu-img knows no disk of no bytes
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			raw, vmdk := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.vmdk")
			if err := os.WriteFile(raw, c.image, 0o600); err != nil {
				t.Fatal(err)
			}
			qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk)
			stream, err := os.ReadFile(vmdk)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode(bytes.NewReader(stream))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.image) {
				t.Error("the image differs")
			}
			if zero(c.image) {
				return
			}
			// Such a stream has no end marker, yet a cut must be noticed.
			// Zeros may follow the last grain, and may be missing.
			end := len(bytes.TrimRight(stream, "\x00"))
			for _, n := range []int{end / 2, end - GrainSize/2, end - 8} {
				if _, err := decode(bytes.NewReader(stream[:n])); !errors.Is(err, ErrTruncated) {
					t.Errorf("cut to %d of %d bytes: got %v, want %v", n, len(stream), err, ErrTruncated)
				}
			}
		})
	}
}

// qemu-img has several ways to write a stream.
func TestStreamsOfQemuHaveShapes(t *testing.T) {
	want := image(70<<20 + 512)
	clear(want[20<<20 : 40<<20])
	dir := t.TempDir()
	raw, qcow := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "disk.qcow2")
	if err := os.WriteFile(raw, want, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "convert", "-O", "qcow2", "-o", "cluster_size=4k", raw, qcow)
	for _, c := range []struct {
		name    string
		options []string
		order   bool // grains come in ascending order
	}{
		{"from small clusters", []string{"-o", "subformat=streamOptimized"}, true},
		{"compressed, which it is anyway", []string{"-c", "-o", "subformat=streamOptimized"}, true},
		{"grains of zeros are written", []string{"-S", "0", "-o", "subformat=streamOptimized"}, true},
		{"grains of zeros are marked", []string{"-o", "subformat=streamOptimized,zeroed_grain=on"}, true},
		{"the header of version 6", []string{"-o", "subformat=streamOptimized,compat6"}, true},
		{"for another controller", []string{"-o", "subformat=streamOptimized,adapter_type=lsilogic,hwversion=13"}, true},
		{"one grain at a time", []string{"-m", "1", "-o", "subformat=streamOptimized"}, true},
		{"out of order", []string{"-W", "-m", "16", "-o", "subformat=streamOptimized"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := filepath.Join(t.TempDir(), "disk.vmdk")
			qemuImg(t, append(append([]string{"convert", "-O", "vmdk"}, c.options...), qcow, stream)...)
			f, err := os.Open(stream)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := decode(f)
			switch {
			case !c.order && errors.Is(err, ErrCorrupt):
				// Whoever reads a stream once cannot put it in order.
			case err != nil:
				t.Error(err)
			case !bytes.Equal(got, want):
				t.Error("the image differs")
			}
		})
	}
}

func TestAHugeDiskOfQemuIsRead(t *testing.T) {
	const capacity = 3 << 40
	raw, stream := filepath.Join(t.TempDir(), "disk.raw"), filepath.Join(t.TempDir(), "disk.vmdk")
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	data := image(GrainSize)
	offsets := []int64{0, 2<<40 + GrainSize, capacity - GrainSize}
	for _, off := range offsets {
		if _, err := f.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, stream)
	if f, err = os.Open(stream); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Capacity() != capacity {
		t.Errorf("got a disk of %d bytes, want %d", d.Capacity(), int64(capacity))
	}
	for _, want := range offsets {
		off, got, err := d.Next()
		if err != nil || off != want || !bytes.Equal(got, data) {
			t.Fatalf("grain at %d: got one at %d, %v", want, off, err)
		}
	}
	if _, _, err := d.Next(); err != io.EOF {
		t.Errorf("got %v, want %v", err, io.EOF)
	}
}

func TestQemuAcceptsHugeSparseDisk(t *testing.T) {
	const capacity = 3 << 40
	vmdk := filepath.Join(t.TempDir(), "disk.vmdk")
	f, err := os.Create(vmdk)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewWriter(f, capacity, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 2 << 40, capacity - GrainSize} {
		if err := e.WriteGrain(off, image(GrainSize)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "check", "-f", "vmdk", vmdk)
	// The map of all 3 TiB would take long.
	for _, off := range []string{"0", "2199023255552", "3298534817792"} {
		out := qemuImg(t, "map", "--output=json", "-f", "vmdk", "--start-offset="+off, "--max-length=1M", vmdk)
		if want := `"start": ` + off + `, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true`; !strings.Contains(out, want) {
			t.Errorf("map lacks %s:\n%s", want, out)
		}
	}
}
