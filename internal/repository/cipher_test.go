package repository

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/kopia/kopia/repo/encryption"
)

// cipherParameters are those of a repository whose key is known.
type cipherParameters struct{ name string }

func (p cipherParameters) GetEncryptionAlgorithm() string { return p.name }
func (cipherParameters) GetMasterKey() []byte             { return []byte("0123456789abcdef0123456789abcdef") }

func testCipher(t *testing.T) *contentCipher {
	t.Helper()
	c, err := newContentCipher(cipherParameters{encryptionAlgorithm})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pieces and pieceBuffer are as Kopia's lists of pieces.
type pieces struct{ Slices [][]byte }

func (p pieces) Length() int                   { return len(bytes.Join(p.Slices, nil)) }
func (p pieces) AppendToSlice(b []byte) []byte { return append(b, bytes.Join(p.Slices, nil)...) }

type pieceBuffer struct{ data []byte }

func (p *pieceBuffer) Length() int     { return len(p.data) }
func (p *pieceBuffer) Append(b []byte) { p.data = append(p.data, b...) }
func (p *pieceBuffer) MakeContiguous(n int) []byte {
	p.data = make([]byte, n)
	return p.data
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	k := newKopiaCipher((func(encryption.Encryptor, pieces, []byte, *pieceBuffer) error)(nil), testCipher(t))
	iv, data := []byte("0123456789abcdef"), randomBytes(BlockSize)
	for name, in := range map[string]pieces{
		"one piece": {[][]byte{data}}, "three": {[][]byte{data[:7], data[7:70000], data[70000:]}}, "none": {},
	} {
		want := in.AppendToSlice(nil)
		for _, before := range []string{"", "what is there already"} {
			out, plain := &pieceBuffer{[]byte(before)}, &pieceBuffer{}
			if err := k.Encrypt(in, iv, out); err != nil {
				t.Fatal(err)
			}
			sealed, ok := bytes.CutPrefix(out.data, []byte(before))
			if !ok || len(sealed) != len(want)+k.Overhead() {
				t.Errorf("%s: %d bytes were made of %d after %q", name, len(sealed), len(want), before)
			}
			// In pieces, too, and what is sealed stays as it is.
			was := bytes.Clone(sealed)
			if err := k.Decrypt(pieces{[][]byte{sealed[:5], sealed[5:]}}, iv, plain); err != nil || !bytes.Equal(plain.data, want) {
				t.Errorf("%s: %d bytes came back, of %d: %v", name, len(plain.data), len(want), err)
			}
			if !bytes.Equal(sealed, was) {
				t.Errorf("%s: decryption has changed what is sealed", name)
			}
		}
	}
	if !bytes.Equal(data, randomBytes(BlockSize)) {
		t.Error("encryption has changed the data")
	}
}

func TestWhatIsNotAsItWasSealedIsNotOpened(t *testing.T) {
	c, iv := testCipher(t), []byte("0123456789abcdef")
	sealed := make([]byte, 5+sealedExtra)
	if err := c.seal(sealed, []byte("plain"), iv); err != nil {
		t.Fatal(err)
	}
	again := make([]byte, len(sealed))
	if err := c.seal(again, []byte("plain"), iv); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("a nonce came twice: %v", err)
	}
	for n := range sealed {
		bad := bytes.Clone(sealed)
		bad[n] ^= 1
		if _, err := c.open(nil, bad, iv); err == nil {
			t.Errorf("byte %d is flipped, and it was opened", n)
		}
		if _, err := c.open(nil, bytes.Clone(sealed[:n]), iv); err == nil {
			t.Errorf("%d bytes of it were opened", n)
		}
	}
	if _, err := c.open(nil, bytes.Clone(sealed[:sealedExtra-1]), iv); !errors.Is(err, errShape) {
		t.Errorf("too short: %v", err)
	}
	if _, err := c.open(nil, bytes.Clone(sealed), []byte("0123456789abcdeF")); err == nil {
		t.Error("opened as another content")
	}
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }

func TestKopiaSealsWithOurs(t *testing.T) {
	testCompressor(t) // registers all
	e, err := encryption.CreateEncryptor(cipherParameters{encryptionAlgorithm})
	if err != nil {
		t.Fatal(err)
	}
	ours := newKopiaCipher(encryption.Encryptor.Encrypt, testCipher(t))
	if got, want := typeName(e), typeName(ours); got != want {
		t.Errorf("Kopia encrypts with %s, not with %s", got, want)
	}
}
