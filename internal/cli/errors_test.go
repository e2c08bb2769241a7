package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/journal"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
)

func TestExitCode(t *testing.T) {
	other := errors.New("other")
	for _, tc := range []struct {
		name      string
		err       error
		cancelled bool
		want      int
	}{
		{"no error", nil, false, 0},
		{"an error", other, false, 1},
		{"an error of usage", usagef("x"), false, 2},
		{"something missing", fmt.Errorf("x: %w", app.ErrPartial), false, 3},
		{"a site that does not answer", fmt.Errorf("%w: %w: %w", app.ErrPartial, app.ErrSiteLeftOut, vcd.ErrLogin), false, 3},
		{"a restore point that is needed", errors.Join(other, fmt.Errorf("x: %w", app.ErrNeeded)), false, 5},
		{"a repository that is busy", fmt.Errorf("org a: %w", repository.ErrBusy), false, 5},
		{"some were busy", fmt.Errorf("%w: %w", app.ErrPartial, &journal.Claimed{}), false, 3},
		{"damage", fmt.Errorf("x: %w", repository.ErrDamaged), false, 4},
		{"a plan refused", fmt.Errorf("x: %w", plan.ErrConflict), false, 5},
		{"a vApp that is busy", errors.Join(other, &journal.Claimed{}), false, 5},
		{"cancelled, whatever came of it", other, true, 130},
		{"cancelled too late", nil, true, 0},
	} {
		if got := exitCode(tc.err, tc.cancelled); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}

type reported struct {
	name      string
	err       error
	cancelled bool
	want      string
}

func TestReport(t *testing.T) {
	for _, tc := range []reported{
		{name: "cancelled", err: context.Canceled, cancelled: true, want: "vappvault: cancelled\n"},
		{
			name: "cancelled amid work that is now left", cancelled: true,
			err:  errors.Join(fmt.Errorf("vApp web: copy: %w", context.Canceled), fmt.Errorf("vm a: %w", backup.ErrLeft), context.Canceled),
			want: "vappvault: vApp web: copy: cancelled\n           vm a: " + backup.ErrLeft.Error() + "\nvappvault: cancelled\n",
		},
		{name: "nothing"},
		{name: "an error nobody knows", err: errors.New("x: y"), want: "vappvault: x: y\n"},
		{name: "several errors", err: errors.Join(errors.New("a"), errors.New("b")), want: "vappvault: a\n           b\n"},
		{name: "usage", err: usagef("no such flag"), want: "vappvault: no such flag\nvappvault help tells how commands are written.\n"},
		{
			name: "a certificate to pin", err: fmt.Errorf("site a: %w", &vcd.CertificateError{Host: "h:443", Fingerprint: "AB:CD", Err: errors.New("unknown authority")}),
			want: "vappvault: site a: h:443: untrusted certificate with SHA-256 fingerprint AB:CD: unknown authority\n" +
				"If that is the fingerprint of h:443, trust it in the configuration: fingerprint: \"AB:CD\"\n",
		},
		{
			name: "a bare name that is not unique", err: &selection.Ambiguous{Selector: "wiki", Candidates: []string{"a/b/wiki", "c/d/wiki"}},
			want: "vappvault: wiki: could be any of a/b/wiki, c/d/wiki\nName the one that is meant.\n",
		},
		{
			name: "a vApp without a restore point to show", err: fmt.Errorf("%w: %w", app.ErrPartial, errors.New("a/b/wiki: no room")),
			want: "vappvault: done in part: a/b/wiki: no room\n",
		},
		{
			name: "a restore point that is not whole", err: fmt.Errorf("%w: %w", app.ErrPartial, app.ErrPointPartial),
			want: "vappvault: done in part: something is missing in a restore point\nSee what is missing, and why, with vappvault show POINT.\n",
		},
		{
			name: "a name that plays with the terminal", err: errors.New("vm a\x1b[2Jb"),
			want: "vappvault: vm a\ufffd[2Jb\n",
		},
		{
			name: "no configuration", err: fmt.Errorf("%w: x", config.ErrNotFound),
			want: "vappvault: no configuration file: x\nWrite vappvault.yaml, or name another file with --config.\n",
		},
	} {
		var out bytes.Buffer
		report(&out, tc.err, exitCode(tc.err, tc.cancelled))
		if out.String() != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, out.String(), tc.want)
		}
	}
}

func TestMainReportsOnce(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := Main([]string{"backup", "--all", "--config", t.TempDir() + "/none.yaml"}, strings.NewReader(""), &stdout, &stderr)
	if code != 1 || stdout.Len() != 0 || strings.Count(stderr.String(), "none.yaml") != 1 {
		t.Errorf("got %d, %q, %q", code, stdout.String(), stderr.String())
	}
}
