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

// Ways from the root password to the root key.
const (
	// For what a person thought of: as slow as it may be.
	kdfPassword = "argon2id"
	// For a generated key: there is nothing to guess, and every process that
	// opens the root would pay a quarter of a second for it.
	kdfGenerated = "hkdf-sha256"
)

// A kdf says how the root key comes from the root password.
type kdf struct {
	Algorithm string `json:"algorithm"`
	Salt      []byte `json:"salt"`
	// Of argon2id alone: passes, memory of a derivation, threads.
	Time      uint32 `json:"time,omitempty"`
	MemoryKiB uint32 `json:"memoryKiB,omitempty"`
	Threads   uint8  `json:"threads,omitempty"`
}

// newKDF returns what suits the password, with a new salt: for a generated
// key HKDF, else the second recommended choice of RFC 9106. A generated key
// that is mistyped is refused: it would become the password.
func newKDF(password string) (kdf, error) {
	salt := make([]byte, minSalt)
	_, _ = rand.Read(salt) // never fails
	switch _, err := parseKey(password); {
	case err == nil:
		return kdf{Algorithm: kdfGenerated, Salt: salt}, nil
	case !errors.Is(err, errNoKey):
		return kdf{}, err
	}
	return kdf{Algorithm: kdfPassword, Salt: salt, Time: 3, MemoryKiB: 64 << 10, Threads: 4}, nil
}

// key derives the root key from the root password.
func (k kdf) key(password string) (rootKey, error) {
	if password == "" {
		return nil, errors.New("the password is empty")
	}
	switch k.Algorithm {
	case kdfPassword:
		if len(k.Salt) < minSalt || k.Threads == 0 ||
			k.Time == 0 || k.Time > maxKDFTime || k.MemoryKiB < minKDFMemory || k.MemoryKiB > maxKDFMemory {
			return nil, fmt.Errorf("%w: key derivation parameters are out of bounds", ErrDamaged)
		}
		return argon2.IDKey([]byte(password), k.Salt, k.Time, k.MemoryKiB, k.Threads, sha256.Size), nil
	case kdfGenerated:
		if len(k.Salt) < minSalt {
			return nil, fmt.Errorf("%w: key derivation parameters are out of bounds", ErrDamaged)
		}
		// Nothing but a generated key gets this far, so that a forged root
		// file cannot make a weak password easy to guess.
		secret, err := parseKey(password)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrWrongPassword, err)
		}
		return hkdf.Key(sha256.New, secret, k.Salt, "vappvault root key v1", sha256.Size)
	default:
		return nil, fmt.Errorf("key derivation %q is unknown", k.Algorithm)
	}
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
