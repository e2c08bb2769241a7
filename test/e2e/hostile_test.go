package e2e

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
)

// garblings are what becomes of a document on its way. Each gets a document
// with a root element, or JSON.
var garblings = []struct {
	name  string
	spoil func(body []byte) []byte
}{
	{"cut short", func(b []byte) []byte { return b[:len(b)/2] }},
	{"empty", func([]byte) []byte { return nil }},
	{"no document", func([]byte) []byte { return []byte("<{[\x00\xff") }},
	{"a gateway's page", func([]byte) []byte { return []byte("<html><body><p>Bad gateway<br></body></html>") }},
	{"another root", func([]byte) []byte { return []byte(`<Other xmlns="http://www.vmware.com/vcloud/v1.5"/>`) }},
	{"another namespace", func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte("http://www.vmware.com/vcloud/v1.5"), []byte("http://example.com/another"))
	}},
	{"entities that grow", func(b []byte) []byte {
		dtd := `<!DOCTYPE x [<!ENTITY e0 "ha">`
		for i := range 30 {
			dtd += fmt.Sprintf(`<!ENTITY e%d "&e%d;&e%d;">`, i+1, i, i)
		}
		return within(b, dtd+"]>", "&e30;")
	}},
	{"an entity from outside", func(b []byte) []byte {
		return within(b, `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>`, "&e;")
	}},
	{"a million levels", func(b []byte) []byte { return within(b, "", strings.Repeat("<d>", 1e6)+strings.Repeat("</d>", 1e6)) }},
	{"elements without end", func(b []byte) []byte { return within(b, "", strings.Repeat("<d>", 1e5)) }},
	{"elements of nobody's", func(b []byte) []byte {
		return within(b, "", `<x:Unknown xmlns:x="urn:example:x" x:y="z"><x:deep>text</x:deep></x:Unknown>`)
	}},
	{"another encoding", func(b []byte) []byte { return append([]byte(`<?xml version="1.0" encoding="UTF-7"?>`), body(b)...) }},
	{"the same twice", func(b []byte) []byte { return append(slices.Clone(b), body(b)...) }},
}

// huge is a document of more than anybody has to say.
func huge(b []byte) []byte { return within(b, "", "<!--"+strings.Repeat("x", 200*mib)+"-->") }

var declaration = regexp.MustCompile(`^\s*<\?xml[^>]*\?>`)

func body(doc []byte) []byte { return declaration.ReplaceAll(doc, nil) }

// within puts a text before the root element of a document, and another one at
// the end of what is in it.
func within(doc []byte, before, last string) []byte {
	end := bytes.LastIndex(doc, []byte("</"))
	if end < 0 {
		return []byte(before + `<x>` + last + `</x>`)
	}
	return slices.Concat([]byte(before), body(doc[:end]), []byte(last), doc[end:])
}

var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|https?%3A[^&]*|\d{3,}`)

// requestKind is what kind of request one is: its method and path, without ids.
func requestKind(r *http.Request) string {
	kind := r.Method + " " + ids.ReplaceAllString(r.URL.Path, "*")
	if typ := r.URL.Query().Get("type"); typ != "" {
		kind += " " + typ
	}
	return kind
}

// A gauntlet is a vCD that garbles the first answer to one kind of request.
type gauntlet struct {
	mu     sync.Mutex
	kinds  []string // those that were seen
	kind   string   // the one that is garbled; "" for none
	spoil  func([]byte) []byte
	struck bool
}

func (g *gauntlet) alter(r *http.Request, body []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	kind := requestKind(r)
	if !slices.Contains(g.kinds, kind) && len(body) > 0 {
		g.kinds = append(g.kinds, kind)
	}
	if kind != g.kind || g.struck {
		return body
	}
	g.struck = true
	return g.spoil(body)
}

// set says which kind of request is answered wrongly from now on.
func (g *gauntlet) set(kind string, spoil func([]byte) []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kind, g.spoil, g.struck = kind, spoil, false
}

// TestHostileDocumentsEndNothingBadly garbles one answer to each kind of
// request that a backup and a restore make. What comes of it is an error that
// is told or a capture that is right: never a vApp in maintenance mode, a
// snapshot or a VM that is left, never a crash.
func TestHostileDocumentsEndNothingBadly(t *testing.T) {
	t.Parallel()
	restore := func(o plan.Options) func(*testing.T, *app.App, string) error {
		return func(t *testing.T, a *app.App, point string) error {
			_, err := a.Restore(t.Context(), app.RestoreRequest{Point: point, Options: o})
			return err
		}
	}
	backup := func(t *testing.T, a *app.App, _ string) error {
		_, err := a.Backup(t.Context(), app.BackupRequest{Selectors: []string{"big"}, SamplePercent: -1})
		return err
	}
	for _, run := range []struct {
		name string
		do   func(t *testing.T, a *app.App, point string) error
	}{
		{"backup", backup},
		{"overwrite", restore(plan.Options{Overwrite: true})},
		{"copy", restore(plan.Options{As: "copy"})},
	} {
		t.Run(run.name, func(t *testing.T) {
			t.Parallel()
			runTheGauntlet(t, func(t *testing.T, e *env, g *gauntlet, conf *config.Config, point string) {
				everyGarbling(t, e, g, conf, func(a *app.App) error { return run.do(t, a, point) })
			})
		})
	}
	t.Run("huge", func(t *testing.T) {
		t.Parallel()
		runTheGauntlet(t, func(t *testing.T, e *env, g *gauntlet, conf *config.Config, point string) {
			g.set("GET /api/vApp/vapp-*", huge)
			e.survives(t, conf, "", func(a *app.App) error {
				err := backup(t, a, point)
				if err == nil {
					t.Error("a document of 200 MiB was taken")
				}
				return err
			})
		})
	})
}

// runTheGauntlet has a run go on before a vCD of its own that can be made to
// garble, and looks at what is left when it is over.
func runTheGauntlet(t *testing.T, run func(t *testing.T, e *env, g *gauntlet, conf *config.Config, point string)) {
	e := newEnv(t, inventoryWith(t, "{size: 8MiB, fill: 1MiB}"))
	g := &gauntlet{}
	conf := *e.conf
	conf.Sites = slices.Clone(e.conf.Sites)
	conf.Sites[0].URL, conf.Sites[0].CA = e.proxy(t, g.alter)
	want := e.sums(e.vapp("big"))
	run(t, e, g, &conf, e.backup("big").ID)
	g.set("", nil)
	e.verified()
	e.wellFormedPoints()
	sameSums(t, e.sums(e.vapp("big")), want)
	e.nothingLeft()
}

// everyGarbling does something once undisturbed, and then for each kind of
// request with an answer that is garbled, in every way or in one.
func everyGarbling(t *testing.T, e *env, g *gauntlet, conf *config.Config, do func(*app.App) error) {
	if err := e.through(t, conf, do); err != nil {
		t.Fatal(err)
	}
	e.dropCopy()
	kinds := slices.Clone(g.kinds)
	if len(kinds) < 10 {
		t.Fatalf("only %q", kinds)
	}
	for i, kind := range kinds {
		for j, garbling := range garblings {
			if !everything() && (i%6 != 0 || (i/6+j)%len(garblings) != 0) {
				continue
			}
			t.Run(plain(kind)+"/"+plain(garbling.name), func(t *testing.T) {
				g.set(kind, garbling.spoil)
				e.with(t).survives(t, conf, kind, do)
			})
		}
	}
}

// everything tells whether all cases are tried, or one of each sort.
func everything() bool { return os.Getenv("VAPPVAULT_LONG") != "" }

// through runs the product with a configuration of its own.
func (e *env) through(t *testing.T, conf *config.Config, do func(*app.App) error) error {
	t.Helper()
	a := app.New(app.Options{Config: conf})
	defer func() { _ = a.Close(t.Context()) }()
	return do(a)
}

// survives checks what a run leaves that met a wrong answer.
func (e *env) survives(t *testing.T, conf *config.Config, kind string, do func(*app.App) error) {
	t.Helper()
	err := e.through(t, conf, do)
	big := e.vapp("big")
	if big.InMaintenance && kind != "" && !strings.Contains(kind, "exitMaintenance") {
		t.Errorf("the vApp is left in maintenance mode: %v", err)
	}
	if err == nil {
		e.tidy(big)
	}
	if _, rerr := e.app(nil).Reconcile(t.Context()); rerr != nil {
		t.Errorf("reconcile: %v", rerr)
	}
	e.tidy(e.vapp("big"))
	if c := e.find("copy"); c != nil && err != nil {
		t.Errorf("a vApp is left after %v", err)
	}
	e.dropCopy()
}

func (e *env) dropCopy() {
	e.t.Helper()
	if c := e.find("copy"); c != nil {
		e.remove(c)
	}
}

// wellFormedPoints checks that every document of every restore point can be
// read.
func (e *env) wellFormedPoints() {
	e.t.Helper()
	points, err := e.app(nil).Points(e.t.Context(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, p := range points {
		point, err := e.app(nil).Point(e.t.Context(), p.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		for _, name := range point.Documents {
			if !strings.HasSuffix(name, ".xml") {
				continue
			}
			raw, err := e.app(nil).Document(e.t.Context(), p.ID, name)
			if err != nil {
				e.t.Fatal(err)
			}
			var whole struct{}
			if err := xml.Unmarshal(raw, &whole); err != nil {
				e.t.Errorf("restore point %s: document %s: %v", p.ID, name, err)
			}
		}
	}
}
