// Package vddk provides what tests need to drive the real nbdkit with its
// real vddk plugin against a simulated vCenter: the plugin, and a
// libvixDiskLib whose disks are the simulator's.
//
// VMware's own library is not free, so lib has a double of it in C. The double
// decides nothing: whether a user may open a disk, and what is in it, the
// simulator says, over its disk port (README.md). What is told about
// arguments, secrets, errors, locks, alignment and crashes with it holds for
// the real library as far as it is documented; HotAdd and SAN are refused.
package vddk

import (
	"crypto/sha1" // #nosec: what VDDK calls a thumbprint
	"crypto/x509"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Library builds the stub of libvixDiskLib on first use and returns the folder
// that the plugin takes as libdir.
func Library(t testing.TB) string {
	t.Helper()
	return once(t, &library, "build.sh")
}

// Plugin returns the vddk plugin to give to nbdkit: its name, or the path of
// one that is downloaded on first use.
func Plugin(t testing.TB) string {
	t.Helper()
	return once(t, &plugin, "plugin.sh")
}

// A result is what a script of this folder printed.
type result struct {
	sync.Mutex
	text string
}

var library, plugin result

func once(t testing.TB, r *result, script string) string {
	t.Helper()
	r.Lock()
	defer r.Unlock()
	if r.text != "" {
		return r.text
	}
	_, file, _, _ := runtime.Caller(0)
	out, err := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(file), script)).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("%s: %v", script, err)
	}
	r.text = strings.TrimSpace(string(out))
	return r.text
}

// Thumbprint is what VDDK calls the SHA-1 of a certificate: 20 pairs of
// hexadecimal digits between colons.
func Thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(pairs, ":")
}
