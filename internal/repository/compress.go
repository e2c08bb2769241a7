package repository

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/kopia/kopia/repo/compression"
)

// A blockCompressor does for Kopia what Kopia's own "zstd-fastest" does, and
// what either has written the other reads. Kopia's streams a content through
// goroutines and small buffers, which pays for files of any length. A content
// is there as a whole: at once it takes four fifths of the time in, and two
// thirds out. The checksum of a frame is left out and not looked at, because
// a content is authenticated before it is decompressed.
type blockCompressor struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	buffers sync.Pool // of *bytes.Buffer
}

// compressionHeader precedes the frame of a compressed content.
const compressionHeader = 4 // bytes

func newBlockCompressor() (*blockCompressor, error) {
	// Zero means as many at a time as there are cores; others wait.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, err
	}
	return &blockCompressor{encoder: e, decoder: d, buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}, nil
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
	out.Grow(compressionHeader + c.encoder.MaxEncodedSize(len(data)))
	b := binary.BigEndian.AppendUint32(out.AvailableBuffer(), uint32(c.HeaderID()))
	_, err := output.Write(c.encoder.EncodeAll(data, b))
	return err
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
