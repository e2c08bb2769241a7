package repository

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// Bounds on what a root file may ask of the key derivation, so that a forged
// one can neither exhaust the machine nor weaken the key.
const (
	minSalt      = 16
	maxKDFTime   = 64
	minKDFMemory = 8 << 10 // KiB
	maxKDFMemory = 2 << 20 // KiB
)

// A kdf says how the root key comes from the root password.
type kdf struct {
	Algorithm string `json:"algorithm"` // argon2id
	Salt      []byte `json:"salt"`
	Time      uint32 `json:"time"`      // passes
	MemoryKiB uint32 `json:"memoryKiB"` // per derivation
	Threads   uint8  `json:"threads"`
}

// newKDF returns the second recommended choice of RFC 9106 with a new salt.
func newKDF() kdf {
	salt := make([]byte, minSalt)
	_, _ = rand.Read(salt) // never fails
	return kdf{Algorithm: "argon2id", Salt: salt, Time: 3, MemoryKiB: 64 << 10, Threads: 4}
}

// key derives the root key from the root password.
func (k kdf) key(password string) (rootKey, error) {
	switch {
	case password == "":
		return nil, errors.New("the password is empty")
	case k.Algorithm != "argon2id":
		return nil, fmt.Errorf("key derivation %q is unknown", k.Algorithm)
	case len(k.Salt) < minSalt, k.Threads == 0,
		k.Time == 0, k.Time > maxKDFTime, k.MemoryKiB < minKDFMemory, k.MemoryKiB > maxKDFMemory:
		return nil, fmt.Errorf("%w: key derivation parameters are out of bounds", ErrDamaged)
	}
	return argon2.IDKey([]byte(password), k.Salt, k.Time, k.MemoryKiB, k.Threads, sha256.Size), nil
}

// A rootKey is what every password of a root is derived from.
type rootKey []byte

// derive returns n bytes for a purpose. Whoever has them learns nothing about
// the root key or about another purpose's bytes.
func (k rootKey) derive(purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, k, nil, purpose, n)
	if err != nil {
		panic(err) // only for absurd n
	}
	return out
}

// check returns the value that tells a wrong password from the right one.
func (k rootKey) check() []byte { return k.derive("vappvault root check v1", 16) }

// fits compares a check value in constant time.
func (k rootKey) fits(check []byte) bool {
	return subtle.ConstantTimeCompare(k.check(), check) == 1
}

// orgPassword returns the password of an organization's Kopia repository.
func (k rootKey) orgPassword(orgID string) string {
	return base64.RawURLEncoding.EncodeToString(k.derive("vappvault org password v1\x00"+orgID, 32))
}
