package house

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// largest is how many bytes a file of the project may have.
const largest = 256 << 10

// What a run leaves behind does not belong to the project.
func TestNothingButSourcesIsKept(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	files := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(files) < 100 {
		t.Fatalf("%d files only", len(files))
	}
	for _, name := range files {
		f, err := os.Open(filepath.Join("../..", name))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, largest+1))
		_ = f.Close()
		switch {
		case err != nil:
			t.Error(err)
		case len(data) > largest:
			t.Errorf("%s: more than %d bytes", name, largest)
		case bytes.IndexByte(data, 0) >= 0:
			t.Errorf("%s: not text", name)
		case len(data) == 0:
			t.Errorf("%s: empty", name)
		case strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".out"):
			t.Errorf("%s: something's output", name)
		}
	}
}
