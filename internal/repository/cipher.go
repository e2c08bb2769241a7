package repository

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"reflect"
	"sync"

	"github.com/kopia/kopia/repo/encryption"
)

// A contentCipher seals contents as Kopia's AES256-GCM-HMAC-SHA256 does: each
// with a key of its own, which comes from its initialization vector, as does
// the data that is authenticated with it. The nonce is random and precedes
// what is sealed.
type contentCipher struct {
	keys sync.Pool // of hash.Hash: the HMAC that derives a content's key
}

const (
	nonceSize   = 12             // bytes
	sealedExtra = nonceSize + 16 // what is sealed is longer by
)

func newContentCipher(p encryption.Parameters) (*contentCipher, error) {
	// As package encryption of Kopia does it.
	secret, err := hkdf.Key(sha256.New, p.GetMasterKey(), []byte("encryption"), "", sha256.Size)
	if err != nil {
		return nil, err
	}
	return &contentCipher{sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}, nil
}

func (c *contentCipher) aead(iv []byte) (cipher.AEAD, error) {
	h := c.keys.Get().(hash.Hash)
	defer c.keys.Put(h)
	h.Reset()
	_, _ = h.Write(iv) // never fails
	var key [sha256.Size]byte
	block, err := aes.NewCipher(h.Sum(key[:0]))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts data into out, which is longer by sealedExtra. Data may lie
// in out already, behind the nonce.
func (c *contentCipher) seal(out, data, iv []byte) error {
	a, err := c.aead(iv)
	if err != nil {
		return err
	}
	nonce := out[:nonceSize]
	if _, err := rand.Read(nonce); err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	a.Seal(out[nonceSize:nonceSize], nonce, data, iv)
	return nil
}

// open decrypts and authenticates what is sealed into dst, or in place if
// that is nil.
func (c *contentCipher) open(dst, sealed, iv []byte) ([]byte, error) {
	a, err := c.aead(iv)
	if err != nil {
		return nil, err
	}
	if len(sealed) < sealedExtra {
		return nil, errShape
	}
	nonce, text := sealed[:nonceSize], sealed[nonceSize:]
	if dst == nil {
		dst = text[:0]
	}
	return a.Open(dst, nonce, text, iv)
}

// kopiaBytes and kopiaBuffer are what can be done with Kopia's lists of
// pieces, whose types cannot be named here; see contents.go.
type (
	kopiaBytes interface {
		Length() int
		AppendToSlice(b []byte) []byte
	}
	kopiaBuffer interface {
		Length() int
		MakeContiguous(length int) []byte // in place of what it holds
		Append(b []byte)
	}
)

// A kopiaCipher is an encryption.Encryptor of Kopia's. Kopia's own copies a
// content twice on its way; here a block is encrypted from where it is to
// where it goes to.
type kopiaCipher[B kopiaBytes, W kopiaBuffer] struct{ *contentCipher }

// newKopiaCipher takes a method of Kopia's only to know its types.
func newKopiaCipher[B kopiaBytes, W kopiaBuffer](_ func(e encryption.Encryptor, data B, iv []byte, out W) error, c *contentCipher) kopiaCipher[B, W] {
	return kopiaCipher[B, W]{c}
}

// Encrypt implements encryption.Encryptor.
func (k kopiaCipher[B, W]) Encrypt(data B, iv []byte, output W) error {
	n := data.Length() + sealedExtra
	if output.Length() == 0 {
		return k.encrypt(output.MakeContiguous(n), data, iv)
	}
	out := make([]byte, n)
	if err := k.encrypt(out, data, iv); err != nil {
		return err
	}
	output.Append(out)
	return nil
}

func (k kopiaCipher[B, W]) encrypt(out []byte, data B, iv []byte) error {
	if pieces, _ := piecesOf(reflect.ValueOf(data)); len(pieces) == 1 {
		return k.seal(out, pieces[0], iv)
	}
	return k.seal(out, data.AppendToSlice(out[nonceSize:nonceSize]), iv)
}

// Decrypt implements encryption.Encryptor.
func (k kopiaCipher[B, W]) Decrypt(sealed B, iv []byte, output W) error {
	plain, err := k.open(nil, sealed.AppendToSlice(make([]byte, 0, sealed.Length())), iv)
	if err != nil {
		return err // Kopia says what it was about
	}
	output.Append(plain)
	return nil
}

// Overhead implements encryption.Encryptor.
func (kopiaCipher[B, W]) Overhead() int { return sealedExtra }

// registerCipher puts our cipher in place of the one whose name it goes by.
func registerCipher() {
	encryption.Register(encryptionAlgorithm, "as Kopia's own, with fewer copies", false, func(p encryption.Parameters) (encryption.Encryptor, error) {
		c, err := newContentCipher(p)
		if err != nil {
			return nil, err
		}
		return newKopiaCipher(encryption.Encryptor.Encrypt, c), nil
	})
}
