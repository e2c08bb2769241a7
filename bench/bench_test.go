package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The whole of it in its smallest size, with the one peer that other tests
// need as well: that it runs, and that what comes back is what was stored,
// which it checks itself. No figure is looked at.
func TestQuickRun(t *testing.T) {
	dir := t.TempDir()
	bin, results := filepath.Join(dir, "bench"), filepath.Join(dir, "RESULTS.md")
	output(t, "go", "build", "-o", bin, ".")
	if err := os.WriteFile(results, []byte("# Old\n\n## restore: once\n\nold\n\n## scaling: as it was\n\nkept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := output(t, bin, "-quick", "-peers", "kopia", "-dir", dir, "-results", results, "-only", "full,restore,incremental,index,memory,nbd,transports")
	for _, want := range []string{"full, mixed, warm", "restore, ext4, cold", "incremental, mixed, stored", "62 TiB", "scattered", "nbdcopy", "through vddk"} {
		if !strings.Contains(out, want) {
			t.Errorf("no line about %q in:\n%s", want, out)
		}
	}
	kept, err := os.ReadFile(results)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"## restore": 1, "\nold\n": 0, "\nkept\n": 1, "# Old": 0, "## index": 1} {
		if got := strings.Count(string(kept), text); got != want {
			t.Errorf("%q is %d times in the results, want %d:\n%s", text, got, want, kept)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "vappvault-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUnknownSectionIsRefused(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "bench")
	output(t, "go", "build", "-o", bin, ".")
	out, err := exec.CommandContext(t.Context(), bin, "-only", "fall").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `no section "fall"`) {
		t.Errorf("got %v: %s", err, out)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", name, err, out, errs.String())
	}
	return string(out)
}
