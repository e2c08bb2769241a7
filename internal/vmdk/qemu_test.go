package vmdk

import (
	"bytes"
	"errors"
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
