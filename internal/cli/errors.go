package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// The exit codes of the program.
const (
	exitOK        = 0
	exitError     = 1
	exitUsage     = 2
	exitPartial   = 3
	exitDamage    = 4
	exitConflict  = 5
	exitCancelled = 130
	exitPipe      = 141 // as if SIGPIPE had ended it
)

// A usageError is an error in how the program was called.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

func exitCode(err error, cancelled bool) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case cancelled:
		return exitCancelled
	case errors.Is(err, errPipe) && err.Error() == errPipe.Error(): // nothing else went wrong
		return exitPipe
	case errors.Is(err, app.ErrPartial): // whatever it was that failed in part
		return exitPartial
	case errors.Is(err, plan.ErrConflict), errors.Is(err, journal.ErrClaimed), errors.Is(err, repository.ErrBusy),
		errors.Is(err, app.ErrNeeded), errors.Is(err, errDiffers):
		return exitConflict
	case errors.Is(err, repository.ErrDamaged), errors.Is(err, journal.ErrDamaged):
		return exitDamage
	}
	return exitError
}

// report prints an error and, where it is known what to do about it, advice.
// After a signal the last word is that it was obeyed.
func report(w io.Writer, err error, code int) {
	if err == nil {
		return
	}
	head := "vappvault: "
	for _, line := range lines(err, code == exitCancelled) {
		fmt.Fprintln(w, head+clean(line))
		head = "           "
	}
	switch text := advice(err); {
	case code == exitCancelled:
		fmt.Fprintln(w, "vappvault: cancelled")
	case text != "":
		fmt.Fprintln(w, text)
	case code == exitUsage:
		fmt.Fprintln(w, "vappvault help tells how commands are written.")
	}
}

// lines are the lines of an error: errors.Join puts one on each. In one of a
// command that was cancelled, that it was is left to be said once.
func lines(err error, cancelled bool) []string {
	var out []string
	for _, line := range strings.Split(err.Error(), "\n") {
		if cancelled {
			if line == context.Canceled.Error() {
				continue
			}
			line = strings.ReplaceAll(line, context.Canceled.Error(), "cancelled")
		}
		out = append(out, line)
	}
	return out
}

// advice returns what to do about an error, in one line, or "".
func advice(err error) string {
	var certificate *vcd.CertificateError
	if errors.As(err, &certificate) {
		return fmt.Sprintf("If that is the fingerprint of %s, trust it in the configuration: fingerprint: %q", certificate.Host, certificate.Fingerprint)
	}
	for _, known := range []struct {
		err  error
		text string
	}{
		{vsphere.ErrUntrusted, "Name the authority's certificates in the configuration (ca: FILE), or the server's own (fingerprint: SHA-256)."},
		{config.ErrNotFound, "Write vappvault.yaml, or name another file with --config."},
		{vcd.ErrLogin, "Check user (NAME@System for an administrator) and password of the site in the configuration."},
		{vsphere.ErrLogin, "Check user and password of the vCenter in the configuration."},
		{vsphere.ErrDenied, "Give the user of the vCenter in the configuration the right that is missing."},
		{repository.ErrNotRepository, "Make it with vappvault init, or mend repository.url in the configuration."},
		{repository.ErrWrongPassword, "Check the password of the repository in the configuration."},
		{repository.ErrNewerFormat, "Use the newer vappvault that wrote it."},
		{journal.ErrNewer, "Use the newer vappvault that wrote it."},
		{repository.ErrDamaged, "See what else is damaged with vappvault verify."},
		{repository.ErrBusy, "Try again when the other process has ended."},
		{journal.ErrDamaged, "Move the file away, then let vappvault reconcile find what is left to settle."},
		{journal.ErrClaimed, "Wait until it has ended; a run that died is taken over a minute later."},
		{journal.ErrFenced, "Another run took over because this one was silent for too long; see vappvault reconcile."},
		{plan.ErrConflict, "See the whole plan with --dry-run; --overwrite and --as NAME are other ways."},
		{app.ErrNeeded, "Finish or undo that restore first; forget --force drops the restore point all the same."},
		{selection.ErrNoMatch, "See what there is with vappvault ls, or vappvault points."},
		{backup.ErrLeft, "The next backup of that vApp, or vappvault reconcile, undoes it."},
		{vcd.ErrShort, "Ask those who run vCD to mend its inventory: what it does not show is not protected."},
		{app.ErrSiteLeftOut, "Do it again when that site answers: nothing there was looked at."},
		{app.ErrNotAsItWas, "What differs, and why, stands above; -o json lists it all."},
		{app.ErrPointPartial, "See what is missing, and why, with vappvault show POINT."},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	var ambiguous *selection.Ambiguous
	if errors.As(err, &ambiguous) {
		return "Name the one that is meant."
	}
	return ""
}
