package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/app"
)

// check returns the first check of a name that begins so, or fails.
func check(t *testing.T, checks []app.Check, name, status, detail string) {
	t.Helper()
	if !slices.ContainsFunc(checks, func(c app.Check) bool {
		return strings.HasPrefix(c.Name, name) && c.Status == status && strings.Contains(c.Detail, detail) && (status == app.CheckOK || c.Advice != "")
	}) {
		t.Errorf("no check %s is %s and tells %q with advice: %+v", name, status, detail, checks)
	}
}

func TestTheDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	checks := e.app(nil).Doctor(t.Context())
	for _, c := range checks {
		// What this machine is no VM for, and has no adapters for, is a warning.
		if c.Status != app.CheckOK && !strings.HasPrefix(c.Name, "vddk ") {
			t.Errorf("%+v", c)
		}
	}
	check(t, checks, "nbdkit", app.CheckOK, "version 1.")
	check(t, checks, "vddk", app.CheckOK, "libvixDiskLib.so")
	check(t, checks, "repository password", app.CheckOK, "opens it")
	check(t, checks, "journal", app.CheckOK, "opens")
	check(t, checks, "vddk nbdssl", app.CheckOK, "could be used")
	check(t, checks, "vCenter", app.CheckOK, "all for backup")
	// Nobody resolves the names of the simulated hosts.
	check(t, checks, "vddk host esx01.vc1.example", app.CheckWarn, "its address 127.0.0.1 answers")
	check(t, checks, "site lab clock", app.CheckOK, "within")
	e.conf.VDDK.ReuseSession = true
	checks = e.app(nil).Doctor(t.Context())
	check(t, checks, "vddk session", app.CheckWarn, "arguments")
}

func TestTheDoctorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	e := newVDDK(t)
	for _, c := range []struct {
		name                string
		spoil               func()
		check, status, want string
	}{
		{"no library", func() { e.conf.VDDK.LibDir = t.TempDir() }, "vddk", app.CheckFail, "libvixDiskLib.so"},
		{"no nbdkit", func() { e.conf.VDDK.NBDKit = "/nowhere/nbdkit" }, "vddk", app.CheckFail, "nbdkit"},
		{"no plugin", func() { e.conf.VDDK.Plugin = "nonesuch" }, "vddk", app.CheckFail, "nonesuch"},
		{"no repository", func() { e.conf.Repository.URL = filepath.Join(t.TempDir(), "gone") }, "repository", app.CheckFail, "gone"},
		{"a wrong password of vCD", func() { e.conf.Sites[0].Password.File = wrong(t) }, "site lab", app.CheckFail, ""},
		{"a wrong password of a vCenter", func() { e.conf.Sites[0].VCenters[0].Password.File = wrong(t) }, "vCenter", app.CheckFail, "login"},
		{"a vCenter that is not configured", func() { e.conf.Sites[0].VCenters = e.conf.Sites[0].VCenters[:1] }, "site lab", app.CheckWarn, "vc2"},
		{"a vCD that is not there", func() { e.conf.Sites[0].URL = "https://127.0.0.1:1" }, "vCenter", app.CheckOK, "administrator"},
		{"a host's port that is closed", func() { e.conf.VDDK.NFCHostPort = 1 }, "vddk hosts", app.CheckWarn, "none of"},
		{"another port of hosts", func() { e.conf.VDDK.NFCHostPort = vCenterPort(t, e) }, "vddk host esx01", app.CheckWarn, "VMware Authentication Daemon"},
		{"a journal that is none", func() { e.conf.StateDir = overwritten(t) }, "journal", app.CheckFail, "damaged"},
		{"a journal that does not open", func() { e.conf.StateDir = unopenable(t) }, "journal", app.CheckFail, ""},
		{"a wrong password of the repository", func() { e.conf.Repository.Password.File = wrong(t) }, "repository password", app.CheckFail, "password"},
		{"a clock that is wrong", func() { e.cloud.Advance(10 * time.Minute) }, "site lab clock", app.CheckWarn, "ahead of this machine"},
		{"no vddk", func() { e.conf.Transports = []string{"nfc"} }, "vddk", app.CheckWarn, "not configured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := *e.conf
			good.Sites = slices.Clone(e.conf.Sites)
			good.Sites[0].VCenters = slices.Clone(e.conf.Sites[0].VCenters)
			c.spoil()
			checks := e.with(t).app(nil).Doctor(t.Context())
			check(t, checks, c.check, c.status, c.want)
			if c.check == "journal" {
				check(t, checks, "repository password", app.CheckOK, "opens it")
			}
			*e.conf = good
		})
	}
}

// vCenterPort is where something else than a host's daemon listens.
func vCenterPort(t *testing.T, e *env) int {
	t.Helper()
	port, err := strconv.Atoi(e.cloud.VCenter("vc1").URL().Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// overwritten is a state folder whose journal is none.
func overwritten(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal.db"), bytes.Repeat([]byte("hello "), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unopenable is a state folder whose journal is a folder.
func unopenable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "journal.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wrong is a file with a password that is nobody's.
func wrong(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
