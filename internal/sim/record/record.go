// Package record keeps the XML documents that cross the wire of a simulated
// vCD, one of each shape, and has them checked against VMware's schemas.
//
// Two documents have one shape when they differ in nothing but ids, times and
// numbers. It promises that no shape is left out, whoever called, and that a
// report names the call. The schemas and the program that checks are not part
// of this project.
package record

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// A Recorder keeps documents in a folder; a nil one keeps none. Its methods may be called
// concurrently, and several processes may share a folder.
type Recorder struct {
	dir string

	mu   sync.Mutex
	seen map[string]bool
	err  error // the first one
}

// Open makes the folder where it is missing.
func Open(dir string) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Recorder{dir: dir, seen: map[string]bool{}}, nil
}

// Exchange is for director.Config.Recorder.
func (r *Recorder) Exchange(e director.Exchange) {
	if strings.HasPrefix(e.Path, "/api/versions") {
		return // its namespace has no schema
	}
	if r == nil {
		return
	}
	call := e.Method + " " + e.Path
	r.keep("answer to "+call, e.ResponseBody)
	if e.Status != http.StatusBadRequest && e.Status != http.StatusUnsupportedMediaType {
		// What was refused so may well be wrong.
		r.keep("body of "+call, e.RequestBody)
	}
}

// volatile is what makes documents of one shape differ.
var volatile = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+`)

// unnamed is what a file name does not show.
var unnamed = regexp.MustCompile(`[^A-Za-z]+`)

func (r *Recorder) keep(what string, doc []byte) {
	if !bytes.HasPrefix(bytes.TrimSpace(doc), []byte("<")) || bytes.HasPrefix(doc, []byte("<html")) {
		return
	}
	shape := sha256.Sum256(volatile.ReplaceAll(doc, []byte("#")))
	what, _, _ = strings.Cut(what, "?")
	what = strings.Trim(unnamed.ReplaceAllString(volatile.ReplaceAllString(what, ""), "-"), "-")
	name := fmt.Sprintf("%s.%x.xml", what[:min(len(what), 120)], shape[:8])
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[name] {
		return
	}
	r.seen[name] = true
	file := filepath.Join(r.dir, name)
	if _, err := os.Lstat(file); err == nil {
		return
	}
	temp, err := os.CreateTemp(r.dir, ".new-*")
	if err == nil {
		_, err = temp.Write(doc)
		err = errors.Join(err, temp.Close())
	}
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if r.err == nil {
		r.err = err
	}
}

// Err is the first document's that could not be kept.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// batch is how many documents one run of the checking program gets.
const batch = 200

// Check has every document of a folder checked by the program `validate` in
// the folder api, and returns how many there were. Newer names a file with
// elements that the schemas do not have yet.
func Check(dir, api, newer string) (int, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".xml") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	all := len(files)
	var problems []error
	for len(files) > 0 {
		some := files[:min(batch, len(files))]
		files = files[len(some):]
		out, err := exec.Command(filepath.Join(api, "validate"), append([]string{"--newer", newer}, some...)...).CombinedOutput()
		if err != nil {
			problems = append(problems, fmt.Errorf("%w\n%s", err, bytes.ReplaceAll(out, []byte(dir+"/"), nil)))
		}
	}
	return all, errors.Join(problems...)
}
