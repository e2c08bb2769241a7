package repository

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
)

// Errors that callers can test for with errors.Is.
var (
	// ErrNotRepository says that a folder is not a repository root.
	ErrNotRepository = errors.New("not a vappvault repository")
	// ErrWrongPassword says that the root password does not fit.
	ErrWrongPassword = errors.New("wrong password")
	// ErrNotFound says that there is no such organization, point or document.
	ErrNotFound = errors.New("not found")
	// ErrDamaged says that something is there but cannot be read back as it
	// was written.
	ErrDamaged = errors.New("damaged")
	// ErrNewerFormat says that a later version of this program wrote it.
	ErrNewerFormat = errors.New("format is newer than this program")
	// ErrBusy says that another process holds what is needed.
	ErrBusy = errors.New("in use by another process")
	// ErrExists says that a point of that id is already there.
	ErrExists = errors.New("already exists")
)

// openError gives Kopia's errors on opening the names of this package.
func openError(err error) error {
	switch {
	case errors.Is(err, repo.ErrInvalidPassword):
		return fmt.Errorf("%w: %w", ErrWrongPassword, err)
	case errors.Is(err, repo.ErrRepositoryNotInitialized), errors.Is(err, blob.ErrBlobNotFound):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// unreadable are the system's words for bytes that are there no more: a bad
// sector, or a file system that finds its own structure or sums wrong.
var unreadable = []error{syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG}

// readError marks what could not be read back as damaged, unless the reason
// is that the caller gave up or that the system refused to read.
func readError(ctx context.Context, err error) error {
	var path *fs.PathError
	switch {
	case err == nil, errors.Is(err, ErrDamaged):
		return err
	case errors.As(err, &path) && !slices.ContainsFunc(unreadable, func(e error) bool { return errors.Is(err, e) }):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}
