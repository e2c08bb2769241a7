package repository

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/kopia/kopia/repo/hashing"
	"github.com/zeebo/blake3"
)

// A contentHash names what is stored: the first 16 bytes of a keyed BLAKE3
// of the sum of the data, where Kopia's own takes the data itself. A block
// has a sum anyway, so it is hashed once and not twice, which is a twelfth of
// the time of a full backup. Nobody who reads hashes again: to Kopia an id is
// a name, and the key and the authenticated data of what is stored under it.
type contentHash struct {
	keyed sync.Pool // of *blake3.Hasher
}

// idSize is what is left of a hash in an id.
const idSize = 16 // bytes

// newContentHash takes the parameters of a repository with our hash.
func newContentHash(p hashing.Parameters) (*contentHash, error) {
	if h := p.GetHashFunction(); h != hashAlgorithm {
		return nil, fmt.Errorf("%w: it hashes with %s, not with %s", ErrNotRepository, h, hashAlgorithm)
	}
	secret := p.GetHmacSecret()
	if len(secret) < 32 {
		return nil, errors.New("the HMAC secret is too short")
	}
	c := &contentHash{}
	c.keyed.New = func() any {
		h, err := blake3.NewKeyed(secret[:32])
		if err != nil {
			panic(err) // only for another key length
		}
		return h
	}
	return c, nil
}

// of appends the hash of what has the given sum.
func (c *contentHash) of(dst []byte, sum [sumSize]byte) []byte {
	h := c.keyed.Get().(*blake3.Hasher)
	defer c.keyed.Put(h)
	h.Reset()
	_, _ = h.Write(sum[:]) // never fails
	var out [32]byte
	return append(dst, h.Sum(out[:0])[:idSize]...)
}

// knownSums holds the sums of blocks while they are given to Kopia, so that
// they are not hashed again there.
type knownSums struct {
	mu   sync.Mutex
	sums map[span][sumSize]byte
}

// A span is a piece of memory.
type span struct {
	first *byte
	n     int
}

func spanOf(data []byte) span { return span{&data[0], len(data)} }

// during tells the sum of data, which is not empty, while do runs.
func (k *knownSums) during(data []byte, sum [sumSize]byte, do func() error) error {
	s := spanOf(data)
	k.mu.Lock()
	k.sums[s] = sum
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.sums, s)
		k.mu.Unlock()
	}()
	return do()
}

func (k *knownSums) find(pieces [][]byte) (sum [sumSize]byte, ok bool) {
	if len(pieces) != 1 || len(pieces[0]) == 0 {
		return sum, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sum, ok = k.sums[spanOf(pieces[0])]
	return sum, ok
}

// kopiaHash makes a hash function of Kopia's, whose type of data B cannot be
// named here; see contents.go. Its first argument only tells that type.
func kopiaHash[B io.WriterTo](_ func(output []byte, data B) []byte, c *contentHash, known *knownSums) func(output []byte, data B) []byte {
	return func(output []byte, data B) []byte {
		pieces, _ := piecesOf(reflect.ValueOf(data))
		sum, ok := known.find(pieces)
		if !ok {
			h := blake3.New()
			_, _ = data.WriteTo(h) // never fails
			h.Sum(sum[:0])
		}
		return c.of(output, sum)
	}
}

// registerHash puts our hash in place of the one whose name it goes by.
func registerHash(known *knownSums) {
	hashing.Register(hashAlgorithm, func(p hashing.Parameters) (hashing.HashFunc, error) {
		c, err := newContentHash(p)
		if err != nil {
			return nil, err
		}
		return kopiaHash(hashing.HashFunc(nil), c, known), nil
	})
}
