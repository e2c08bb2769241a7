package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
)

// TestBadInputIsNamedAndLosesNothing gives the product one wrong thing at a
// time. Each error must name it, and the cloud must be as it was.
func TestBadInputIsNamedAndLosesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	e.backup("wiki")
	cases := []struct {
		name     string
		spoil    func(c *config.Config, dir string)
		selector string
		want     []string
	}{
		{"a wrong vCD password", func(c *config.Config, dir string) { c.Sites[0].Password.File = file(t, dir, "no") }, "wiki", []string{"administrator", c(e).URL}},
		{"a wrong vCenter password", func(c *config.Config, dir string) { c.Sites[0].VCenters[0].Password.File = file(t, dir, "no") }, "wiki", []string{"vApp wiki", "vCenter vc1", "login"}},
		{"an unknown vApp", nil, "acme/acme-vdc1/nope", []string{"acme/acme-vdc1/nope"}},
		{"a selector that matches nothing", nil, "acm*/x/*", []string{"acm*/x/*"}},
		{"an unreachable vCenter", func(c *config.Config, _ string) { c.Sites[0].VCenters[0].URL = "https://127.0.0.1:1/sdk" }, "wiki", []string{"127.0.0.1:1"}},
		{"an untrusted certificate", func(c *config.Config, _ string) { c.Sites[0].CA = "" }, "wiki", []string{"certificate"}},
		{"a repository that is not one", func(c *config.Config, dir string) { c.Repository.URL = dir }, "wiki", []string{"repository"}},
		{"a wrong repository password", func(c *config.Config, dir string) { c.Repository.Password.File = file(t, dir, "no") }, "wiki", []string{"wrong password"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			conf := *e.conf
			conf.Sites = append([]config.Site(nil), e.conf.Sites...)
			conf.Sites[0].VCenters = append([]config.Server(nil), e.conf.Sites[0].VCenters...)
			if tc.spoil != nil {
				tc.spoil(&conf, t.TempDir())
			}
			a := app.New(app.Options{Config: &conf})
			defer func() { _ = a.Close(t.Context()) }()
			_, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{tc.selector}, SamplePercent: -1})
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			e.with(t).tidy(e.vapp("wiki"))
		})
	}
	e.verified()
}

func c(e *env) config.Server { return e.conf.Sites[0].Server }

func file(t *testing.T, dir, content string) string {
	t.Helper()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
