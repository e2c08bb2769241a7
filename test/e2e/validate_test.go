package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// volatile is what makes documents of one shape differ: ids, times, numbers.
var volatile = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+`)

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
	shapes := map[[32]byte]bool{}
	var files []string
	for _, doc := range x.docs {
		shape := sha256.Sum256(volatile.ReplaceAll(doc, []byte("#")))
		if shapes[shape] {
			continue
		}
		shapes[shape] = true
		file := filepath.Join(dir, fmt.Sprintf("%04d.xml", len(files)))
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	t.Logf("%d documents, %d shapes", len(x.docs), len(files))
	for len(files) > 0 {
		batch := files[:min(100, len(files))]
		files = files[len(batch):]
		out, err := exec.Command(filepath.Join(api, "validate"), batch...).CombinedOutput()
		if err != nil {
			t.Errorf("validate: %v\n%s", err, bytes.TrimSpace(out[:min(len(out), 8000)]))
		}
	}
}
