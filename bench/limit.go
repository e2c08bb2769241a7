package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"
)

// The limit is what a backup cannot do without, and nothing else: read a
// block, hash it, compress it, encrypt it, append it to a file, on as many
// cores as there are. It has no index to speak of, keeps no repository, knows
// no error but to give up, and does not look at what it compresses; unless it
// is tuned it takes zstd's fastest level as its library has it.

const limitBlock = 1 << 20

var limitKey [32]byte // a benchmark has nothing to hide

// A limitEntry says where a block lies in the limit's file.
type limitEntry struct {
	Block, Offset int64
	Length        int64 // 0: all zeros
}

func limitAEAD() (cipher.AEAD, error) {
	c, err := aes.NewCipher(limitKey[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(c)
}

// parallel calls do for each of n pieces of work on all cores, each worker
// with a state of its own.
func parallel[S any](n int, state func() (S, error), do func(S, int) error) error {
	var g errgroup.Group
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			s, err := state()
			if err != nil {
				return err
			}
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := do(s, i); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

type limitWriter struct {
	aead        cipher.AEAD
	zstd        *zstd.Encoder
	in, out, ct []byte
}

// newLimitWriter makes a writer with zstd as its library has it or, tuned,
// with what ours tells it to do differently.
func newLimitWriter(tuned bool) (*limitWriter, error) {
	aead, err := limitAEAD()
	if err != nil {
		return nil, err
	}
	options := []zstd.EOption{zstd.WithEncoderConcurrency(1)}
	if tuned {
		options = append(options, zstd.WithWindowSize(limitBlock), zstd.WithEncoderCRC(false))
	}
	enc, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderLevel(zstd.SpeedFastest))...)
	return &limitWriter{aead: aead, zstd: enc, in: make([]byte, limitBlock)}, err
}

// limitBackup writes the given blocks of an image to a file.
func limitBackup(_ context.Context, image, to string, blocks []int64, tuned bool) error {
	src, err := os.Open(image)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // read only
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer dst.Close() //nolint:errcheck // synced below
	var mu sync.Mutex
	var end int64
	entries := make([]limitEntry, len(blocks))
	err = parallel(len(blocks), func() (*limitWriter, error) { return newLimitWriter(tuned) }, func(w *limitWriter, i int) error {
		n, err := src.ReadAt(w.in, blocks[i]*limitBlock)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		sum := blake3.Sum256(w.in[:n])
		w.out = w.zstd.EncodeAll(w.in[:n], w.out[:0])
		w.ct = w.aead.Seal(w.ct[:0], sum[:w.aead.NonceSize()], w.out, nil)
		w.ct = append(w.ct, sum[:]...)
		mu.Lock()
		at := end
		end += int64(len(w.ct))
		mu.Unlock()
		entries[i] = limitEntry{blocks[i], at, int64(len(w.ct))}
		_, err = dst.WriteAt(w.ct, at)
		return err
	})
	if err != nil {
		return err
	}
	index, err := os.Create(to + ".index")
	if err != nil {
		return err
	}
	if err := errors.Join(binary.Write(index, binary.LittleEndian, entries), index.Sync(), index.Close()); err != nil {
		return err
	}
	return dst.Sync()
}

type limitReader struct {
	aead    cipher.AEAD
	zstd    *zstd.Decoder
	in, out []byte
}

func newLimitReader(tuned bool) (*limitReader, error) {
	aead, err := limitAEAD()
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(tuned))
	return &limitReader{aead: aead, zstd: dec}, err
}

// limitRestore writes an image from what limitBackup has written of it.
func limitRestore(_ context.Context, from, image string, size int64, tuned bool) error {
	index, err := os.ReadFile(from + ".index")
	if err != nil {
		return err
	}
	entries := make([]limitEntry, len(index)/binary.Size(limitEntry{}))
	if _, err := binary.Decode(index, binary.LittleEndian, entries); err != nil {
		return err
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // read only
	dst, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := dst.Truncate(size); err != nil {
		return errors.Join(err, dst.Close())
	}
	zero := make([]byte, limitBlock)
	err = parallel(len(entries), func() (*limitReader, error) { return newLimitReader(tuned) }, func(r *limitReader, i int) error {
		e := entries[i]
		if int64(cap(r.in)) < e.Length {
			r.in = make([]byte, 2*limitBlock)
		}
		r.in = r.in[:e.Length]
		if _, err := src.ReadAt(r.in, e.Offset); err != nil {
			return err
		}
		ct, sum := r.in[:e.Length-32], r.in[e.Length-32:]
		plain, err := r.aead.Open(ct[:0], sum[:r.aead.NonceSize()], ct, nil)
		if err != nil {
			return fmt.Errorf("block %d: %w", e.Block, err)
		}
		if r.out, err = r.zstd.DecodeAll(plain, r.out[:0]); err != nil {
			return err
		}
		if string(r.out) == string(zero[:len(r.out)]) {
			return nil
		}
		_, err = dst.WriteAt(r.out, e.Block*limitBlock)
		return err
	})
	return errors.Join(err, dst.Close())
}
