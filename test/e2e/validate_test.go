package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// volatile is what makes documents of one shape differ: ids, times, numbers.
var volatile = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+`)

var (
	shapesMu sync.Mutex
	shapes   = map[[32]byte]bool{} // that a test of this run has validated
)

func fresh(shape [32]byte) bool {
	shapesMu.Lock()
	defer shapesMu.Unlock()
	seen := shapes[shape]
	shapes[shape] = true
	return !seen
}

// validate checks every document that went over the wire against VMware's
// schemas, one of each shape, in batches. VAPPVAULT_VCD_API names the folder
// with the schemas; they are no part of this project.
func (x *exchanges) validate(t *testing.T) {
	t.Helper()
	api := os.Getenv("VAPPVAULT_VCD_API")
	if api == "" {
		t.Log("documents not validated: VAPPVAULT_VCD_API is not set")
		return
	}
	dir := t.TempDir()
	var files []string
	for _, doc := range x.docs {
		if !fresh(sha256.Sum256(volatile.ReplaceAll(doc, []byte("#")))) {
			continue
		}
		file := filepath.Join(dir, fmt.Sprintf("%04d.xml", len(files)))
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	t.Logf("%d documents, %d of shapes not seen before", len(x.docs), len(files))
	for len(files) > 0 {
		batch := files[:min(100, len(files))]
		files = files[len(batch):]
		out, err := exec.Command(filepath.Join(api, "validate"), batch...).CombinedOutput()
		if err != nil {
			t.Errorf("validate: %v\n%s", err, bytes.TrimSpace(out[:min(len(out), 8000)]))
		}
	}
}
