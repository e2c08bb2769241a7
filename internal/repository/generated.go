package repository

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// A generated key is text, so that it can stand wherever a password can, and
// be typed from a sheet of paper: "vvkey1-" and eight groups of seven letters
// and digits, base32 of 32 random bytes and the first 3 of their SHA-256.
const (
	keyPrefix  = "vvkey1-"
	keySecret  = 32 // bytes
	keyCheck   = 3  // bytes
	keyGroup   = 7  // characters
	keyLetters = "abcdefghijklmnopqrstuvwxyz234567"
)

var (
	keyEncoding = base32.NewEncoding(keyLetters).WithPadding(base32.NoPadding)

	errNoKey = errors.New("the repository was made with a generated key (vvkey1-…), and this is none")
)

// NewKey generates a key that can be a root's password: 256 random bits with
// a check against typing errors. A root that is made with one (Init) opens
// without the slow derivation that a password needs.
func NewKey() string {
	secret := make([]byte, keySecret)
	_, _ = rand.Read(secret) // never fails
	return formatKey(secret)
}

func formatKey(secret []byte) string {
	sum := sha256.Sum256(secret)
	text := keyEncoding.EncodeToString(append(bytes.Clone(secret), sum[:keyCheck]...))
	var groups []string
	for ; len(text) > 0; text = text[keyGroup:] {
		groups = append(groups, text[:keyGroup])
	}
	return keyPrefix + strings.Join(groups, "-")
}

// parseKey returns the random bytes of a generated key. Case and hyphens do
// not matter. Errors: errNoKey if it is something else. No error holds any
// part of it.
func parseKey(text string) ([]byte, error) {
	if len(text) < len(keyPrefix) || !strings.EqualFold(text[:len(keyPrefix)], keyPrefix) {
		return nil, errNoKey
	}
	letters := strings.ToLower(strings.ReplaceAll(text[len(keyPrefix):], "-", ""))
	want := keyEncoding.EncodedLen(keySecret + keyCheck)
	if len(letters) != want {
		return nil, fmt.Errorf("the generated key has %d letters and digits after %s in place of %d", len(letters), keyPrefix, want)
	}
	data, err := keyEncoding.DecodeString(letters)
	if err != nil {
		return nil, errors.New("the generated key has a character that no key has: they are a to z and 2 to 7")
	}
	secret := data[:keySecret]
	if sum := sha256.Sum256(secret); !bytes.Equal(sum[:keyCheck], data[keySecret:]) {
		return nil, errors.New("the generated key is mistyped: its last characters do not fit the others")
	}
	return secret, nil
}
