package repository

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
)

// A blockCompressor does for Kopia what Kopia's own "zstd-fastest" does, and
// what either has written the other reads. Kopia's streams a content through
// goroutines and small buffers, which pays for files of any length. A content
// is there as a whole: at once it takes four fifths of the time in, and two
// thirds out. The checksum of a frame is left out and not looked at, because
// a content is authenticated before it is decompressed.
//
// A block knows nothing of the one before, so that what Kopia finds again in
// contents of up to 8 MiB is stored again in those of 1 MiB. That is made up
// for where it costs least: where zstd finds most, its next level takes
// hardly longer, and stores a fifteenth less. The block before tells, since
// what lies side by side on a disk is alike; a wrong guess costs time, or
// bytes, and nothing else.
type blockCompressor struct {
	fast, dense *zstd.Encoder
	wellBefore  atomic.Bool // the block before has come to less than a part in wellPart
	decoder     *zstd.Decoder
	buffers     sync.Pool // of *bytes.Buffer
}

// wellPart is the part of a block that those which compress well come to.
const wellPart = 8

// guessFrom is the length from which on a content tells of the next.
const guessFrom = 64 << 10 // bytes

// compressionHeader precedes the frame of a compressed content.
const compressionHeader = 4 // bytes

func newBlockCompressor() (*blockCompressor, error) {
	fast, err := newEncoder(zstd.SpeedFastest)
	if err != nil {
		return nil, err
	}
	dense, err := newEncoder(zstd.SpeedDefault)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, err
	}
	return &blockCompressor{
		fast: fast, dense: dense, decoder: d,
		buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}, nil
}

// newEncoder makes an encoder that works on as many contents at a time as
// there are cores; others wait. The window, given before the level, makes
// zstd's own blocks as long as can be, which takes a twelfth less time, and
// its buffers no longer than a block of ours needs.
func newEncoder(level zstd.EncoderLevel) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithWindowSize(BlockSize), zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false))
}

// HeaderID implements compression.Compressor.
func (c *blockCompressor) HeaderID() compression.HeaderID { return compression.HeaderZstdFastest }

// Compress implements compression.Compressor.
func (c *blockCompressor) Compress(output io.Writer, input io.Reader) error {
	data, ok := inOnePiece(input)
	if !ok {
		in := c.buffer()
		defer c.buffers.Put(in)
		if _, err := in.ReadFrom(input); err != nil {
			return err
		}
		data = in.Bytes()
	}
	out := c.buffer()
	defer c.buffers.Put(out)
	out.Grow(compressionHeader + c.fast.MaxEncodedSize(len(data)))
	b := binary.BigEndian.AppendUint32(out.AvailableBuffer(), uint32(c.HeaderID()))
	_, err := output.Write(c.encode(data, b))
	return err
}

// encode appends the frame of data to b.
func (c *blockCompressor) encode(data, b []byte) []byte {
	if len(data) < guessFrom {
		return c.fast.EncodeAll(data, b)
	}
	encoder := c.fast
	if c.wellBefore.Load() {
		encoder = c.dense
	}
	before := len(b)
	b = encoder.EncodeAll(data, b)
	c.wellBefore.Store(len(b)-before < len(data)/wellPart)
	return b
}

// Decompress implements compression.Compressor.
func (c *blockCompressor) Decompress(output io.Writer, input io.Reader, withHeader bool) error {
	in, out := c.buffer(), c.buffer()
	defer c.buffers.Put(in)
	defer c.buffers.Put(out)
	if _, err := in.ReadFrom(input); err != nil {
		return err
	}
	frame := in.Bytes()
	if withHeader {
		var err error
		if frame, err = c.frame(frame); err != nil {
			return err
		}
	}
	out.Grow(BlockSize)
	data, err := c.decoder.DecodeAll(frame, out.AvailableBuffer())
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	_, err = output.Write(data)
	return err
}

// frame cuts the header off a compressed content.
func (c *blockCompressor) frame(b []byte) ([]byte, error) {
	if len(b) < compressionHeader || binary.BigEndian.Uint32(b) != uint32(c.HeaderID()) {
		return nil, errors.New("decompress: the header is not that of zstd-fastest")
	}
	return b[compressionHeader:], nil
}

func (c *blockCompressor) buffer() *bytes.Buffer {
	b := c.buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

// What decides whether a block is worth compressing: bytes that are all
// equally frequent in a sample of it leave zstd nothing to shorten but
// repetitions, which bytes of that kind (compressed or encrypted before) do
// not have. The price of a mistake is that a block is stored as it is.
const (
	samplePieces = 32
	samplePiece  = 512  // bytes
	sampleBits   = 7.95 // of information in a byte; noise has 7.99 in a sample of this size
)

// compressible takes a look at a block.
func compressible(data []byte) bool {
	if len(data) < 2*samplePieces*samplePiece {
		return true // it costs little to try
	}
	var count [256]uint32
	for n := range samplePieces {
		at := n * (len(data) - samplePiece) / (samplePieces - 1)
		for _, b := range data[at : at+samplePiece] {
			count[b]++
		}
	}
	const total = samplePieces * samplePiece
	bits := 0.0
	for _, c := range count {
		if c > 0 {
			bits -= float64(c) / total * math.Log2(float64(c)/total)
		}
	}
	return bits < sampleBits
}
