package repository

import (
	"context"
	"crypto/aes"
	"os"
	"sync"

	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/repo/content"
)

// A directReader reads contents from their packs without Kopia's buffers:
// what costs most in a restore is not decryption but copying a block seven
// times. It trusts Kopia's index for where a content lies, and nothing else:
// each content is sealed with a key of its own, so that what opens is what was
// stored under that id.
//
// Whatever it does not understand or cannot read is Kopia's to read, and to
// give an error for.
type directReader struct {
	contents   content.Reader
	packs      layout
	compressor *blockCompressor
	cipher     *contentCipher
	buffers    sync.Pool // of *[]byte: what lies in a pack
}

// newDirectReader opens the packs under dir. It is nil for a repository that
// is encrypted in a way other than ours.
func newDirectReader(ctx context.Context, contents content.Reader, dir string, compressor *blockCompressor) (*directReader, error) {
	format := contents.ContentFormat()
	if format.GetEncryptionAlgorithm() != encryptionAlgorithm {
		return nil, nil
	}
	c, err := newContentCipher(format)
	if err != nil {
		return nil, err
	}
	packs, err := newStorage(ctx, &storageOptions{Path: dir}, false)
	if err != nil {
		return nil, err
	}
	return &directReader{
		contents: contents, packs: packs.(*storage).layout, compressor: compressor, cipher: c,
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}, nil
}

// read fills p with a content, whose length is that of p, and reports whether
// it could. Otherwise p may hold anything.
func (r *directReader) read(ctx context.Context, id content.ID, p []byte) bool {
	if r == nil {
		return false
	}
	info, err := r.contents.ContentInfo(ctx, id)
	if err != nil || len(p) == 0 || int(info.OriginalLength) != len(p) || info.EncryptionKeyID != 0 {
		return false
	}
	b := r.buffers.Get().(*[]byte)
	defer r.buffers.Put(b)
	if cap(*b) < int(info.PackedLength) {
		*b = make([]byte, max(int(info.PackedLength), BlockSize+4<<10))
	}
	sealed := (*b)[:info.PackedLength]
	if r.load(ctx, info, sealed) != nil {
		return false
	}
	switch info.CompressionHeaderID {
	case content.NoCompression:
		plain, err := r.open(p[:0:len(p)], sealed, id)
		return err == nil && len(plain) == len(p)
	case compression.HeaderZstdFastest:
		plain, err := r.open(nil, sealed, id)
		if err != nil {
			return false
		}
		frame, err := r.compressor.frame(plain)
		if err != nil {
			return false
		}
		out, err := r.compressor.decoder.DecodeAll(frame, p[:0:len(p)])
		if err != nil || len(out) != len(p) {
			return false
		}
		if &out[0] != &p[0] {
			copy(p, out)
		}
		return true
	}
	return false
}

// load reads what lies in the pack.
func (r *directReader) load(ctx context.Context, info content.Info, sealed []byte) error {
	_, path, err := r.packs.GetShardedPathAndFilePath(ctx, info.PackBlobID)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	_, err = f.ReadAt(sealed, int64(info.PackOffset))
	return err
}

// open decrypts and authenticates a content into dst, or in place if that is
// nil. What its key comes from is the last 16 bytes of its id.
func (r *directReader) open(dst, sealed []byte, id content.ID) ([]byte, error) {
	iv := id.Hash()
	return r.cipher.open(dst, sealed, iv[len(iv)-aes.BlockSize:])
}
