package repository

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
)

// Seal encrypts something of the organization's that is kept outside the
// repository, such as passwords in a record of the journal. Only Unseal of the
// same organization's repository reads it: AES-256-GCM, under a key derived
// from the organization's password, with a random nonce before the text.
func (o *Repository) Seal(plain []byte) ([]byte, error) {
	box, err := o.box()
	if err != nil {
		return nil, o.errorf("seal: %w", err)
	}
	nonce := make([]byte, box.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return box.Seal(nonce, nonce, plain, nil), nil
}

// Unseal is the inverse of Seal. ErrDamaged: it is not what Seal made here.
func (o *Repository) Unseal(sealed []byte) ([]byte, error) {
	box, err := o.box()
	if err != nil {
		return nil, o.errorf("unseal: %w", err)
	}
	if len(sealed) < box.NonceSize() {
		return nil, o.errorf("unseal: %w: %d bytes", ErrDamaged, len(sealed))
	}
	plain, err := box.Open(nil, sealed[:box.NonceSize()], sealed[box.NonceSize():], nil)
	if err != nil {
		return nil, o.errorf("unseal: %w: %w", ErrDamaged, err)
	}
	return plain, nil
}

func (o *Repository) box() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(o.password), nil, "vappvault seal v1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	box, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("GCM: %w", err)
	}
	return box, nil
}
