package vddk

import (
	"errors"
	"time"

	"github.com/vappvault/vappvault/internal/vsphere"
)

// Hasty shortens how long a child has to end.
func (o Options) Hasty() Options {
	o.closing, o.ending = 500*time.Millisecond, 500*time.Millisecond
	return o
}

// Spoiled changes what is given to the library.
func (o Options) Spoiled(f func(*vsphere.Access)) Options {
	o.access = f
	return o
}

// Heard is the error that comes of what a child says, while it opens a disk
// or later.
func Heard(opens bool, said string, secrets ...string) error {
	m := newMessages(secrets...)
	for i := range len(said) { // in the smallest pieces
		_, _ = m.Write([]byte{said[i]})
	}
	m.end()
	if opens {
		return opening(m, errors.New("no such file"))
	}
	return transferring(m, errors.New("input/output error"))
}
