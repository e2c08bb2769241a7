package cloud

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrBusy is the error of Start for a directory in which a cloud runs already,
// or is being started.
var ErrBusy = errors.New("a vcdsim serves this directory already")

// lockName is a file that stays: what counts is who holds its lock, which ends
// with its process, however that ends.
const lockName = "vcdsim.lock"

// lock makes a cloud's directory and keeps others out of it until unlock is
// called. It waits for nobody.
func lock(dir string) (unlock func() error, err error) {
	if dir == "" {
		return nil, errors.New("no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	switch held, err := l.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lock: %w", err)
	case !held:
		return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
	}
	return l.Close, nil
}
