package repository

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"github.com/kopia/kopia/repo/content"
	"github.com/zeebo/blake3"
)

// hashParameters are those of a repository whose secret is known.
type hashParameters struct {
	name   string
	secret []byte
}

func (p hashParameters) GetHashFunction() string { return p.name }
func (p hashParameters) GetHmacSecret() []byte   { return p.secret }

func testHash(t *testing.T) *contentHash {
	t.Helper()
	c, err := newContentHash(hashParameters{hashAlgorithm, []byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIDsAreHashesOfSums(t *testing.T) {
	c := testHash(t)
	got := c.of(nil, blake3.Sum256([]byte("a block")))
	golden(t, "contentid.v1.txt", []byte(hex.EncodeToString(got)+"\n"))
	for name, p := range map[string]hashParameters{
		"another hash": {"BLAKE2B-256-128", make([]byte, 32)}, "a short secret": {hashAlgorithm, make([]byte, 31)},
	} {
		if _, err := newContentHash(p); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

type writablePieces struct{ Slices [][]byte }

func (p writablePieces) WriteTo(w io.Writer) (n int64, err error) {
	for _, b := range p.Slices {
		k, err := w.Write(b)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func TestWhatIsHashedIsNotHashedAgain(t *testing.T) {
	c, known := testHash(t), &knownSums{sums: map[span][sumSize]byte{}}
	hash := kopiaHash((func([]byte, writablePieces) []byte)(nil), c, known)
	data := []byte("a block")
	want, other := c.of(nil, blake3.Sum256(data)), blake3.Sum256([]byte("another"))
	whole := writablePieces{[][]byte{data}}
	for name, p := range map[string]writablePieces{"one piece": whole, "two pieces": {[][]byte{data[:3], data[3:]}}} {
		if got := hash(nil, p); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
	if got, want := hash(nil, writablePieces{}), c.of(nil, blake3.Sum256(nil)); !bytes.Equal(got, want) {
		t.Errorf("nothing: got %x, want %x", got, want)
	}
	broken := errors.New("broken")
	err := known.during(data, other, func() error {
		// A sum that is not that of the data shows that nobody has looked.
		if got, want := hash(nil, whole), c.of(nil, other); !bytes.Equal(got, want) {
			t.Errorf("hashed again: got %x, want %x", got, want)
		}
		if got := hash(nil, writablePieces{[][]byte{data[:3]}}); bytes.Equal(got, c.of(nil, other)) {
			t.Error("the beginning of a block was taken for the block")
		}
		return broken
	})
	if !errors.Is(err, broken) || len(known.sums) != 0 {
		t.Errorf("%d sums are left behind: %v", len(known.sums), err)
	}
	if got := hash(nil, whole); !bytes.Equal(got, want) {
		t.Errorf("afterwards: got %x, want %x", got, want)
	}
}

// If this fails, Kopia has changed: everything still works, but blocks are
// hashed twice.
func TestKopiaNamesBlocksByTheirSums(t *testing.T) {
	o, data, ids := directWorld(t)
	for name, d := range data {
		if want := o.ids.content("", d); ids[name] != want {
			t.Errorf("%s: got %s, want %s", name, ids[name], want)
		}
	}
	s, err := o.newSession(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(t.Context())
	var got content.ID
	sum := blake3.Sum256([]byte("another"))
	err = o.sums.during(data["noise"], sum, func() error {
		id, _, err := s.put(t.Context(), "", data["noise"])
		got, _, _ = id.ContentID()
		return err
	})
	if err != nil || !bytes.Equal(got.Hash(), o.ids.hash.of(nil, sum)) {
		t.Errorf("hashed again: %v", err)
	}
}
