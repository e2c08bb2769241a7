package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/progress"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// kitchenSecrets are all that the inventory has.
var kitchenSecrets = []string{
	"kitchen-admin-secret", "kitchen-domain-secret", "kitchen-property-secret", "kitchen-vm-property-secret", "kitchen-userdata-secret",
}

// TestATenantsSecretsAreSeenNowhere looks for them in everything that a backup
// and a restore write and print, and whether they come back.
func TestATenantsSecretsAreSeenNowhere(t *testing.T) {
	t.Parallel()
	k := newKitchen(t)
	var log bytes.Buffer
	open := func() *app.App {
		a := app.New(app.Options{
			Config: k.conf, Version: "test", Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Progress: func(e progress.Event) { log.WriteString(e.Message + "\n") },
		})
		t.Cleanup(func() { _ = a.Close(context.Background()) })
		return a
	}
	point := k.pointOf(open())
	docs := k.documents(open(), point)
	for name, doc := range docs {
		mustNotHave(t, "document "+name, doc)
	}
	printed := printed{}
	printed.add(t, "the point", point)

	k.destroyAll("kitchen")
	result, err := open().Restore(t.Context(), app.RestoreRequest{Point: point.ID})
	if err != nil && !errors.Is(err, app.ErrPartial) {
		t.Fatal(err)
	}
	printed.add(t, "the restore's result", result)
	k.cameBack(t)

	// What a tenant changed since is no less secret.
	v := k.vapp("kitchen")
	k.put(t, v.Href+"/productSections/", "kitchen-property-secret", "kitchen-vm-property-secret")
	for _, dry := range []bool{true, false} {
		again, err := open().Restore(t.Context(), app.RestoreRequest{Point: point.ID, DryRun: dry, Options: plan.Options{Overwrite: true, KeepOld: true}})
		printed.add(t, fmt.Sprintf("an overwrite, dry run %t", dry), again)
		if err != nil {
			printed.add(t, fmt.Sprintf("its error, dry run %t", dry), err.Error())
		}
	}
	for what, text := range printed {
		mustNotHave(t, what, text)
	}
	mustNotHave(t, "the log", log.Bytes())
	if bytes.Contains(log.Bytes(), []byte("Bearer ")) || bytes.Contains(log.Bytes(), []byte("eyJ")) {
		t.Error("the log has a session's token")
	}
	mustNotHave(t, "the repository", everyFile(t, filepath.Join(k.dir, "conf")))
}

func mustNotHave(t *testing.T, what string, text []byte) {
	t.Helper()
	for _, s := range kitchenSecrets {
		if bytes.Contains(text, []byte(s)) {
			t.Errorf("%s has %s", what, s)
		}
	}
}

type printed map[string][]byte

func (p printed) add(t *testing.T, what string, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	p[what] = raw
}

func (k *kitchen) pointOf(a *app.App) *restorepoint.Point {
	k.t.Helper()
	results, err := a.Backup(k.t.Context(), app.BackupRequest{Selectors: []string{"kitchen"}, SamplePercent: -1})
	if err != nil && !errors.Is(err, app.ErrPartial) {
		k.t.Fatal(err)
	}
	return results[0].Point
}

// documents are those of a point that can be shown.
func (k *kitchen) documents(a *app.App, point *restorepoint.Point) map[string][]byte {
	k.t.Helper()
	out := map[string][]byte{}
	for _, name := range point.Documents {
		if name == restorepoint.SecretsPath {
			continue
		}
		doc, err := a.Document(k.t.Context(), point.ID, name)
		if err != nil {
			k.t.Fatal(err)
		}
		out[name] = doc
	}
	if len(out) == len(point.Documents) {
		k.t.Error("the point keeps no secrets")
	}
	return out
}

// cameBack checks that the restored vApp has its secrets.
func (k *kitchen) cameBack(t *testing.T) {
	t.Helper()
	v := k.vapp("kitchen")
	on := k.vm(v, "on")
	all := k.get(v.Href+"/productSections/") + k.get(on.Href+"/productSections/") + k.get(on.Href+"/guestCustomizationSection/")
	for _, c := range k.configs(v) {
		for _, value := range c.ExtraConfig {
			all += value
		}
	}
	for _, s := range kitchenSecrets {
		if !strings.Contains(all, s) {
			t.Errorf("%s did not come back", s)
		}
	}
}

// put replaces text in a section.
func (k *kitchen) put(t *testing.T, href, from, to string) {
	t.Helper()
	doc, err := k.vcd.Get(t.Context(), href)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.vcd.PutSection(t.Context(), href, doc.Type+"+xml", bytes.ReplaceAll(doc.Raw, []byte(from), []byte(to))); err != nil {
		if err := k.vcd.PutSection(t.Context(), href, doc.Type, bytes.ReplaceAll(doc.Raw, []byte(from), []byte(to))); err != nil {
			t.Fatal(err)
		}
	}
}

// everyFile is the content of all files below a folder.
func everyFile(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all = append(all, raw...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
