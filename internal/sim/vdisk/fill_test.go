package vdisk

import (
	"bytes"
	"testing"
)

// memory is a disk in memory.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func isZero(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }

func TestFillIsDeterministicAndSpreadOverTheDisk(t *testing.T) {
	const size, total = 8 << 20, 1<<20 + 4096
	first, second, other := make(memory, size), make(memory, size), make(memory, size)
	for disk, seed := range map[*memory]string{&first: "a", &second: "a", &other: "b"} {
		if err := Fill(*disk, size, total, seed); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first, second) {
		t.Error("two fills with one seed differ")
	}
	if bytes.Equal(first, other) {
		t.Error("fills with two seeds are equal")
	}
	written := 0
	for at := 0; at < size; at += 4096 {
		if !isZero(first[at : at+4096]) {
			written += 4096
		}
	}
	if written != total {
		t.Errorf("got %d bytes of content, want %d", written, total)
	}
	if isZero(first[size/2:]) {
		t.Error("the second half of the disk is empty")
	}
}

func TestFillOfAWholeDisk(t *testing.T) {
	for _, size := range []int64{512, 4096, fillPiece, fillPiece + 512, 5*fillPiece - 512} {
		disk := make(memory, size)
		if err := Fill(disk, size, size, "x"); err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < size; at += 512 {
			if isZero(disk[at : at+512]) {
				t.Errorf("disk of %d: nothing at %d", size, at)
				break
			}
		}
	}
}
