package director_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// restart starts the installation anew, at the same address, in the way that the
// last one was started.
func (c *cloud) restart(cfg director.Config) {
	c.t.Helper()
	cfg.Listen = c.dir.URL().Host
	c.dir = must(director.Start(cfg))(c.t)
	c.t.Cleanup(func() { _ = c.dir.Close() })
}

var hrefs = regexp.MustCompile(`href="(https://[^"]+)"`)

// volatile is what differs between two readings of one document.
var volatile = regexp.MustCompile(`(?s)requestId="[^"]*"`)

// everything is all documents that an administrator can reach, by href.
func (u *user) everything() map[string][]byte {
	base := u.c.dir.URL().String()
	todo, out := []string{base + "/api/org", base + "/api/admin", base + "/api/admin/extension", base + "/api/query", base + "/api/session"}, map[string][]byte{}
	for _, path := range []string{"/cloudapi/1.0.0/orgs", "/cloudapi/1.0.0/vdcs"} {
		todo = append(todo, base+path)
	}
	for len(todo) > 0 {
		href := todo[0]
		todo = todo[1:]
		if _, seen := out[href]; seen || !strings.HasPrefix(href, base) || strings.Contains(href, "/action/") ||
			strings.Contains(href, "type=event") || strings.Contains(href, "type=adminEvent") || strings.Contains(href, "/metrics/") {
			continue // the test's own logins are events, and metrics grow with the time
		}
		r := u.do(http.MethodGet, href, "", "")
		out[href] = volatile.ReplaceAll(r.body, nil)
		if r.status != http.StatusOK {
			out[href] = []byte(r.code()) // the message has the request's id
			continue
		}
		for _, m := range hrefs.FindAllSubmatch(r.body, -1) {
			todo = append(todo, strings.ReplaceAll(string(m[1]), "&amp;", "&"))
		}
	}
	return out
}

func TestRestartChangesNothing(t *testing.T) {
	t.Parallel()
	var cfg director.Config
	c := newCloud(t, func(d *director.Config) { d.StateDir = t.TempDir(); cfg = *d })
	cfg.Recorder = nil
	u := c.login(adminName)
	u.run(http.MethodPost, c.vappPath()+"/power/action/powerOn", "", "")
	u.put(c.vappPath()+"/leaseSettingsSection/", "leaseSettingsSection", nothing)
	before := u.everything()
	if c.dir.Restored() {
		t.Error("a first start says that it restored something")
	}
	if err := c.dir.Close(); err != nil {
		t.Fatal(err)
	}
	c.restart(cfg)
	if !c.dir.Restored() {
		t.Fatal("nothing was restored")
	}
	if r := u.do(http.MethodGet, "/api/org", "", ""); r.status != http.StatusUnauthorized {
		t.Errorf("a session from before the restart: %d", r.status)
	}
	u = c.login(adminName)
	after := u.everything()
	if len(before) < 60 || len(before) != len(after) {
		t.Errorf("%d documents before, %d after", len(before), len(after))
	}
	for href, doc := range before {
		if !bytes.Equal(doc, after[href]) {
			t.Errorf("%s:\n%s\nafter the restart\n%s", href, doc, after[href])
		}
	}
	// And it works on.
	u.run(http.MethodPost, c.vappPath()+"/action/undeploy", vcloud+"undeployVAppParams+xml",
		`<UndeployVAppParams `+xmlns+`><UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>`)
	u.run(http.MethodDelete, c.vappPath(), "", "")
}

func nothing(*etree.Element) {}

func TestRestartAbortsWhatWasUnderWay(t *testing.T) {
	t.Parallel()
	var cfg director.Config
	c := newCloud(t, func(d *director.Config) {
		d.StateDir, d.TaskDelay = t.TempDir(), time.Hour
		cfg = *d
	})
	cfg.Recorder = nil
	u := c.login(adminName)
	vapp := u.want(http.StatusCreated, http.MethodPost, c.vimServer(u)+"/importVmAsVApp", admin+"importVmAsVAppParams+xml", c.asVApp("half", c.take(), "true")).root(t)
	href := vapp.SelectAttrValue("href", "")
	task := vapp.FindElement("./Tasks/Task").SelectAttrValue("href", "")
	if err := c.dir.Save(); err != nil {
		t.Fatal(err)
	}
	// What a kill leaves behind: the file as it was in the middle of it, and
	// one that was being written.
	kept := must(os.ReadFile(filepath.Join(cfg.StateDir, "director.state")))(t)
	if err := c.dir.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"director.state": kept, "director.state.123.tmp": kept[:100]} {
		if err := os.WriteFile(filepath.Join(cfg.StateDir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.TaskDelay = 0
	c.restart(cfg)
	u = c.login(adminName)
	if got := u.get(task); got.SelectAttrValue("status", "") != "aborted" || got.SelectAttrValue("endTime", "") == "" {
		t.Errorf("task: %s", write(got))
	}
	if got := u.get(href); got.SelectAttrValue("status", "") != "-1" || got.FindElement("./Tasks/Task[@status='aborted']") == nil {
		t.Errorf("vApp: %s", write(got))
	}
	u.run(http.MethodDelete, href, "", "")
	if err := c.dir.WaitTasks(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestStateThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "director.state"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := director.Start(director.Config{StateDir: dir})
	if err == nil || !strings.Contains(err.Error(), "director.state: graph: load: not a saved graph") {
		t.Errorf("got %v", err)
	}
}

// What changed is saved before long, without anybody's asking.
func TestSavesByItself(t *testing.T) {
	t.Parallel()
	var cfg director.Config
	c := newCloud(t, func(d *director.Config) { d.StateDir = t.TempDir(); cfg = *d })
	u := c.login(adminName)
	u.want(http.StatusAccepted, http.MethodPut, c.vappPath(), vcloud+"vApp+xml", `<VApp `+xmlns+` name="found me"/>`)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(cfg.StateDir, "director.state"))
		if bytes.Contains(b, []byte("found me")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not saved")
		}
	}
}
