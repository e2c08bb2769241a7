package vdisk

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
)

// fillPiece is how long each piece of made-up content is: several blocks of
// anything that tracks changes, and short of any block that is stored.
const fillPiece = 256 << 10

// Fill writes total bytes that follow from the seed alone, in pieces spread
// evenly over a disk of the given size. Every other piece can be compressed.
func Fill(disk io.WriterAt, size, total int64, seed string) error {
	if total == 0 {
		return nil
	}
	random := rand.NewChaCha8(sha256.Sum256([]byte(seed)))
	pieces := (total + fillPiece - 1) / fillPiece
	distance := max(size/pieces/4096*4096, fillPiece)
	for i := range pieces {
		piece := make([]byte, min(fillPiece, total-i*fillPiece))
		if i%2 == 0 {
			_, _ = random.Read(piece) // never fails
		} else {
			for at := 0; at < len(piece); {
				at += copy(piece[at:], fmt.Sprintf("%s: %d: line %d\n", seed, i, random.Uint64()%1000))
			}
		}
		offset := min(i*distance, size-int64(len(piece)))
		if _, err := disk.WriteAt(piece, offset); err != nil {
			return fmt.Errorf("fill at %d: %w", offset, err)
		}
	}
	return nil
}
