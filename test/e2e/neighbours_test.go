package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// TestDamageOfOneOrganizationHidesNoOther damages what the repository has of
// one organization, in several ways. Everything else can be found, listed,
// verified and restored, and every answer says what it could not look at.
func TestDamageOfOneOrganizationHidesNoOther(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	whole, hurt := e.backup("wiki"), e.backup("globex/*/Büro*")
	orgs := filepath.Join(e.conf.Repository.URL, "orgs")
	id := restorepoint.UUID(hurt.Org.ID)
	sound := filepath.Join(t.TempDir(), "orgs")
	if err := os.CopyFS(sound, os.DirFS(orgs)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		damage   func() error
		readable bool // all the same
	}{
		{"its key is gone", func() error { return os.Remove(filepath.Join(orgs, id, "kopia.repository.f")) }, false},
		{"its list of points is damaged", func() error { return e.flipPacks(filepath.Join(orgs, id), "q") }, false},
		{"its name is damaged", func() error { return os.WriteFile(filepath.Join(orgs, id+".json"), []byte("{"), 0o600) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.damage(); err != nil {
				t.Fatal(err)
			}
			e.found(t, whole, hurt, tc.readable)
			if err := errors.Join(os.RemoveAll(orgs), os.CopyFS(orgs, os.DirFS(sound))); err != nil {
				t.Fatal(err)
			}
		})
	}
	// With everything back it is as it was, and the next backup goes on.
	e.verified()
	if err := os.WriteFile(filepath.Join(orgs, id+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.backup("globex/*/Büro*")
	if info, err := e.app(nil).RepositoryShow(t.Context(), "globex"); err != nil || info.Orgs[0].Points != 2 {
		t.Errorf("after a backup the organization is %+v, %v", info, err)
	}
}

// found looks for the point that is whole, and for what is said of the other.
func (e *env) found(t *testing.T, whole, hurt *restorepoint.Point, readable bool) {
	t.Helper()
	says := func(what string, err error) {
		t.Helper()
		if readable != (err == nil) || err != nil && (!errors.Is(err, repository.ErrDamaged) || !strings.Contains(err.Error(), "globex")) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	a := e.app(nil)
	points, err := a.Points(t.Context(), nil)
	says("points", err)
	if !slices.ContainsFunc(points, func(p restorepoint.Summary) bool { return p.ID == whole.ID }) {
		t.Errorf("points: got %v", points)
	}
	for _, ref := range []string{whole.ID, "wiki@latest", "acme/acme-vdc1/wiki@latest"} {
		if p, err := a.Point(t.Context(), ref); err != nil || p.ID != whole.ID {
			t.Errorf("%s: got %v", ref, err)
		}
	}
	if points, err := a.Points(t.Context(), []string{"acme/*/*"}); err != nil || len(points) != 1 {
		t.Errorf("points of the other organization: got %v, %v", points, err)
	}
	_, err = a.Point(t.Context(), hurt.ID)
	says("the point that is hurt", err)
	out, err := a.RestoreMany(t.Context(), []string{"*/*/*@latest"}, app.RestoreRequest{DryRun: true, Options: plan.Options{As: "copy-of-{name}"}})
	if n := slices.IndexFunc(out, func(o app.RestoreOutcome) bool { return o.Point == whole.ID && o.Result != nil }); n < 0 {
		t.Errorf("restore of all: got %+v, %v", out, err)
	}
	if n := slices.IndexFunc(out, func(o app.RestoreOutcome) bool { return strings.HasPrefix(o.VApp, "globex/") && o.Point == "" }); readable != (n < 0) {
		t.Errorf("restore of all: got %+v", out)
	}
	result, err := a.Verify(t.Context(), nil, 100)
	n := slices.IndexFunc(result.Damage, func(d repository.Damage) bool { return d.Org == "globex" && d.Point == "" })
	if err != nil || readable != (n < 0) || result.Points == 0 || result.Bytes == 0 || result.Bytes != result.Data {
		t.Errorf("verify: got %+v, %v", result, err)
	}
	info, err := a.RepositoryShow(t.Context(), "")
	says("repository show", err)
	if len(info.Orgs) == 0 || info.Orgs[0].Name != "acme" && !readable {
		t.Errorf("repository show: got %+v", info)
	}
}

// TestVerifyGoesOn has damage of one point and a pack of another that the
// system does not let it read: neither keeps the rest from being told.
func TestVerifyGoesOn(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	point, other := e.backup("wiki"), e.backup("globex/*/Büro*")
	orgs := filepath.Join(e.conf.Repository.URL, "orgs")
	if err := e.flipPacks(filepath.Join(orgs, restorepoint.UUID(point.Org.ID)), "p"); err != nil {
		t.Fatal(err)
	}
	for _, refused := range e.packs(filepath.Join(orgs, restorepoint.UUID(other.Org.ID)), "p") {
		if err := errors.Join(os.Remove(refused), os.Mkdir(refused, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	result, err := e.app(nil).Verify(t.Context(), nil, 100)
	if err == nil || !strings.Contains(err.Error(), other.ID) {
		t.Errorf("got %v, want an error about %s", err, other.ID)
	}
	if len(result.Damage) == 0 || result.Damage[0].Point != point.ID {
		t.Errorf("got %+v", result)
	}
	part, err := e.app(nil).Verify(t.Context(), []string{point.ID}, 0.0001)
	if err != nil || part.Bytes >= part.Data {
		t.Errorf("a sample: got %+v, %v", part, err)
	}
}

// flipPacks damages all packs of a Kopia repository whose names begin so, all
// over them.
func (e *env) flipPacks(dir, kind string) error {
	for _, pack := range e.packs(dir, kind) {
		raw, err := os.ReadFile(pack)
		if err != nil {
			return err
		}
		for n := 64; n < len(raw); n += 64 {
			raw[n] ^= 0x55
		}
		if err := os.WriteFile(pack, raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// packs returns them. The first letters of a pack's name are the folders
// that it is in.
func (e *env) packs(dir, kind string) (packs []string) {
	e.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && !d.IsDir() && strings.HasPrefix(rel, kind) {
			packs = append(packs, path)
		}
		return err
	})
	if err != nil || len(packs) == 0 {
		e.t.Fatalf("packs of kind %s: %v, %v", kind, packs, err)
	}
	return packs
}

// damageOne damages, of a Kopia repository, one metadata content: the first that
// makes damaged true.
func (e *env) damageOne(dir string, damaged func() bool) {
	e.t.Helper()
	for _, pack := range e.packs(dir, "q") {
		raw, err := os.ReadFile(pack)
		if err != nil {
			e.t.Fatal(err)
		}
		for n := 64; n < len(raw); n += 256 {
			raw[n] ^= 0x55
			if err := os.WriteFile(pack, raw, 0o600); err != nil {
				e.t.Fatal(err)
			}
			if damaged() {
				return
			}
			raw[n] ^= 0x55
		}
		if err := os.WriteFile(pack, raw, 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	e.t.Fatal("nothing damages that alone")
}
