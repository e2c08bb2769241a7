package e2e

import (
	"bufio"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

// fates is testdata/fates.txt: what becomes of everything in a restore point.
type fates struct {
	vapp    map[string][]string // name -> fates
	context map[string]bool     // documents that are recorded
}

func readFates(t *testing.T) fates {
	t.Helper()
	file, err := os.Open("testdata/fates.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f := fates{map[string][]string{}, map[string]bool{}}
	part := ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		head, names, _ := strings.Cut(line, ": ")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			part = line
		case part == "[context]":
			for _, name := range strings.Fields(names) {
				f.context[name] = true
			}
		default:
			fate, _, _ := strings.Cut(head, " ")
			for _, name := range strings.Fields(names) {
				f.vapp[name] = append(f.vapp[name], fate)
			}
		}
	}
	return f
}

// may tells whether one of the fates fits what the comparison does.
func may(fates []string, how document.Treatment) bool {
	for _, fate := range fates {
		switch fate {
		case "back", "open":
			if how == document.Compared {
				return true
			}
		case "new":
			if how == document.Named {
				return true
			}
		case "said":
			if how == document.Excused {
				return true
			}
		}
	}
	return false
}

var anyID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// kindOf is a document's path without ids and numbers of pages.
func kindOf(path string) string {
	return regexp.MustCompile(`\.[0-9]+\.json$`).ReplaceAllString(anyID.ReplaceAllString(path, "*"), ".json")
}

// TestNothingIsLostSilently compares the name of every element, attribute and
// field in every document of a restore point with a table of what becomes of
// it, and the table with what a restore does.
func TestNothingIsLostSilently(t *testing.T) {
	t.Parallel()
	k := newKitchen(t)
	found := k.discover(k.vapp("alone"), "stray")
	table := readFates(t)
	unknown := map[string]string{}
	var kitchen *restorepoint.Point
	for _, name := range []string{"kitchen", "alone", "empty", found.Name} {
		point := k.backupInPart(name)
		if name == "kitchen" {
			kitchen = point
		}
		a := k.app(nil)
		for _, path := range point.Documents {
			if !strings.HasPrefix(path, "vcd/") || strings.HasPrefix(path, "vcd/context/") {
				if !table.context[kindOf(path)] {
					t.Errorf("%s: document %s is not in the table", name, kindOf(path))
				}
				continue
			}
			raw, err := a.Document(t.Context(), point.ID, path)
			if err != nil {
				t.Fatal(err)
			}
			all, err := document.Treatments(raw)
			if err != nil {
				t.Fatal(err)
			}
			for name, treatments := range all {
				for how := range treatments {
					if !may(table.vapp[name], how) {
						unknown[name+" is "+string(how)] = kindOf(path)
					}
				}
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(unknown)) {
		t.Errorf("%s: %s, and the table has it as %q", unknown[what], what, table.vapp[strings.Fields(what)[0]])
	}
	k.openAlone(kitchen, table)
}

// openAlone restores a vApp and checks that what comes back otherwise, and
// without a reason, is open in the table.
func (k *kitchen) openAlone(point *restorepoint.Point, table fates) {
	k.t.Helper()
	k.destroyAll("kitchen")
	result, err := k.app(nil).Restore(k.t.Context(), app.RestoreRequest{Point: point.ID})
	if err != nil && !errors.Is(err, app.ErrPartial) {
		k.t.Fatal(err)
	}
	for _, d := range result.Unexplained() {
		if !slices.Contains(table.vapp[leaf(d.Field)], "open") {
			k.t.Errorf("%s: %s: got %q, want %q", kindOf(d.Document), d.Field, d.Got, d.Want)
		}
	}
}

// leaf is the name of the element or attribute that a field leads to.
func leaf(field string) string {
	var names []string
	depth, from := 0, 0
	for i, r := range field + "/" {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '/' && depth == 0:
			name, _, _ := strings.Cut(field[from:i], "[")
			name, _, _ = strings.Cut(name, "#")
			names, from = append(names, name), i+1
		}
	}
	last := names[len(names)-1]
	if strings.HasPrefix(last, "@") {
		return names[len(names)-2] + last
	}
	if field != "" && !strings.ContainsAny(names[1][:1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return strings.Join(names, ".")
	}
	return last
}

// destroyAll undeploys and deletes a vApp.
func (k *kitchen) destroyAll(name string) {
	k.t.Helper()
	v := k.vapp(name)
	if err := k.vcd.Undeploy(k.t.Context(), v.Href, "powerOff"); err != nil && v.Deployed {
		k.t.Fatal(err)
	}
	if err := k.vcd.DeleteVApp(k.t.Context(), v.Href); err != nil {
		k.t.Fatal(err)
	}
}

// backupInPart backs up what has disks that no snapshot freezes.
func (k *kitchen) backupInPart(name string) *restorepoint.Point {
	k.t.Helper()
	results, err := k.app(nil).Backup(k.t.Context(), app.BackupRequest{Selectors: []string{name}, SamplePercent: -1})
	if err != nil && !errors.Is(err, app.ErrPartial) || len(results) == 0 || results[0].Point == nil {
		k.t.Fatalf("backup of %s: %v", name, err)
	}
	return results[0].Point
}
