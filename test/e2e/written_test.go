package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/cli"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/sim/fault"
	"github.com/vappvault/vappvault/internal/vcd"
)

// What is planted in the shop: passwords of guest customization, as the
// default inventory has them, and of product sections.
var planted = []string{"correct-horse", "battery-staple", "planted-in-the-vapp", "planted-in-a-vm"}

// TestNothingThatIsWrittenHasASecret backs up and restores a vApp full of
// passwords, with all logs there are, and looks for them, for the sessions'
// tokens and for the accounts' passwords wherever something was written.
func TestNothingThatIsWrittenHasASecret(t *testing.T) {
	t.Parallel()
	e := newEnvOf(t, fault.New(1))
	plantPasswords(e)
	secrets := tokens{list: slices.Clone(planted)}
	path := e.behindProxy(&secrets)
	said := map[string]string{}
	run := func(want int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := cli.Main(append([]string{"--config", path, "-vv"}, args...), strings.NewReader(""), &stdout, &stderr)
		if code != want {
			t.Errorf("%q: exit code %d, want %d\n%s", args, code, want, stderr.String())
		}
		said["output of "+strings.Join(args, " ")] = stdout.String() + stderr.String()
		return stdout.String()
	}
	run(0, "backup", webShop)
	var points struct{ Points []restorepoint.Summary }
	if err := json.Unmarshal([]byte(run(0, "points", "-o", "json")), &points); err != nil || len(points.Points) != 1 {
		t.Fatal(points, err)
	}
	id := points.Points[0].ID
	run(0, "show", id, "-o", "json")
	run(0, "restore", id, "--as", "copy", "--dry-run", "-o", "json")
	run(0, "restore", id, "--as", "copy", "-o", "json")
	plantOthers(e)
	run(0, "restore", id, "--overwrite", "-o", "json")
	// Errors say what was sent to whom.
	e.rules(fault.Rule{Service: fault.VCD, Operation: "PUT *guestCustomizationSection*", Effect: fault.Effect{Status: 400, Code: "BAD_REQUEST", Message: "no"}},
		fault.Rule{Service: fault.VCD, Operation: "PUT *productSections*", Effect: fault.Effect{Status: 400, Code: "BAD_REQUEST", Message: "no"}})
	run(1, "restore", id, "--as", "failed")
	e.rules()
	run(5, "restore", id)
	run(1, "show", "01KAZ8M5H2W4Q6T8V0X2Z4B6D8")
	run(0, "verify")
	run(0, "reconcile")

	for name, raw := range e.documents(id) {
		if name != restorepoint.SecretsPath { // which only a restore opens
			said["document "+name] = string(raw)
		}
	}
	for _, dir := range []string{e.conf.StateDir, e.conf.Repository.URL} {
		readAll(t, dir, said)
	}
	if len(secrets.list) < len(planted)+4 {
		t.Fatalf("only %d secrets are looked for", len(secrets.list))
	}
	for what, text := range said {
		for _, secret := range secrets.list {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s has %.16q…: %.200q", what, secret, text[max(0, at-100):])
			}
		}
	}
}

// documents are those of a restore point.
func (e *env) documents(id string) map[string][]byte {
	e.t.Helper()
	a := e.app(nil)
	point, err := a.Point(e.t.Context(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, name := range point.Documents {
		raw, err := a.Document(e.t.Context(), id, name)
		if err != nil {
			continue // one that nobody is shown
		}
		out[name] = raw
	}
	if len(out) < 20 {
		e.t.Fatalf("only %d documents", len(out))
	}
	return out
}

func readAll(t *testing.T, dir string, into map[string]string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		into["file "+path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// plantPasswords gives the shop and its running VM properties that are
// passwords.
func plantPasswords(e *env) {
	v := e.vapp("web-shop")
	section := func(value string) string {
		return `<ProductSectionList ` + xmlns + `><ovf:ProductSection ovf:class="planted"><ovf:Info>x</ovf:Info>` +
			`<ovf:Property ovf:key="pass" ovf:type="string" ovf:password="true" ovf:userConfigurable="true" ovf:value=""><ovf:Value ovf:value="` + value + `"/></ovf:Property>` +
			`</ovf:ProductSection></ProductSectionList>`
	}
	for href, value := range map[string]string{v.Href: planted[2], vmOf(e.t, v, "web01").Href: planted[3]} {
		if err := e.vcd.PutSection(e.t.Context(), href+"/productSections/", vcd.TypeProductSections, []byte(section(value))); err != nil {
			e.t.Fatal(err)
		}
	}
}

// plantOthers changes the passwords, so that the comparison has something to
// show.
func plantOthers(e *env) {
	v := e.vapp("web-shop")
	doc, err := e.vcd.Get(e.t.Context(), v.Href+"/productSections/")
	if err != nil {
		e.t.Fatal(err)
	}
	body := bytes.ReplaceAll(doc.Raw, []byte(planted[2]), []byte("other"))
	if err := e.vcd.PutSection(e.t.Context(), v.Href+"/productSections/", vcd.TypeProductSections, body); err != nil {
		e.t.Fatal(err)
	}
}

// tokens are secrets; those of sessions are added as they are seen.
type tokens struct {
	mu   sync.Mutex
	list []string
}

func (s *tokens) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret != "" && !slices.Contains(s.list, secret) {
		s.list = append(s.list, secret)
	}
}

// behindProxy writes a configuration that leads through a proxy, which sees
// what authorizes the calls. The accounts' passwords are secrets as well.
func (e *env) behindProxy(secrets *tokens) string {
	e.t.Helper()
	address, ca := e.proxy(e.t, func(r *http.Request, body []byte) []byte {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		secrets.add(token)
		return body
	})
	site := e.conf.Sites[0]
	files := []string{site.Password.File, e.conf.Repository.Password.File}
	for _, vc := range site.VCenters {
		files = append(files, vc.Password.File)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			e.t.Fatal(err)
		}
		secrets.add(strings.TrimSpace(string(raw)))
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		e.t.Fatal(err)
	}
	secrets.add(base64.StdEncoding.EncodeToString([]byte(site.User + "@System:" + strings.TrimSpace(string(raw)))))
	text, err := os.ReadFile(e.conf.Path())
	if err != nil {
		e.t.Fatal(err)
	}
	dir := filepath.Dir(e.conf.Path())
	changed := strings.Replace(string(text), site.URL, address, 1)
	if changed == string(text) {
		e.t.Fatalf("no %s in %s", site.URL, text)
	}
	rel, err := filepath.Rel(dir, site.CA)
	if err != nil {
		e.t.Fatal(err)
	}
	changed = strings.Replace(changed, "ca: "+rel, "ca: "+ca, 1)
	path := filepath.Join(dir, "proxied.yaml")
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}
