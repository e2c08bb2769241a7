// Package record keeps the XML documents that cross the wire of a simulated
// vCD, one of each shape, and has them checked against VMware's schemas.
//
// Two documents have one shape when they have the same elements and attributes
// and their values are of the same kinds. It promises that no shape is left
// out, whoever called, and that a report names the call. The schemas and the
// program that checks are not part of this project.
package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// A Recorder keeps documents in a folder; a nil one keeps none. Its methods
// may be called concurrently, and several processes may share a folder.
type Recorder struct {
	dir string

	mu   sync.Mutex
	seen map[[sha256.Size]byte]bool
	err  error // the first one
}

// Open makes the folder where it is missing.
func Open(dir string) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Recorder{dir: dir, seen: map[[sha256.Size]byte]bool{}}, nil
}

// Exchange is for director.Config.Recorder.
func (r *Recorder) Exchange(e director.Exchange) {
	if r == nil || strings.HasPrefix(e.Path, "/api/versions") { // whose namespace has no schema
		return
	}
	call := e.Method + " " + e.Path
	r.keep("answer to "+call, e.ResponseBody)
	if e.Status < http.StatusMultipleChoices {
		// What was refused may well be wrong.
		r.keep("body of "+call, e.RequestBody)
	}
}

func (r *Recorder) keep(what string, doc []byte) {
	if !bytes.HasPrefix(bytes.TrimSpace(doc), []byte("<")) || bytes.HasPrefix(doc, []byte("<html")) {
		return
	}
	shape := shapeOf(doc)
	r.mu.Lock()
	seen := r.seen[shape]
	r.seen[shape] = true
	r.mu.Unlock()
	if seen {
		return
	}
	if err := r.write(name(what, shape), doc); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = errors.Join(r.err, err)
	}
}

// write makes a file that is there as a whole or not at all.
func (r *Recorder) write(name string, doc []byte) error {
	file := filepath.Join(r.dir, name)
	if _, err := os.Lstat(file); err == nil {
		return nil
	}
	temp, err := os.CreateTemp(r.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(doc)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}

var (
	ids     = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+`)
	unnamed = regexp.MustCompile(`[^A-Za-z]+`) // what a file name does not show
)

// name is a file name that tells the call.
func name(what string, shape [sha256.Size]byte) string {
	what, query, _ := strings.Cut(what, "?")
	if typ, _, _ := strings.Cut(query, "&"); strings.HasPrefix(typ, "type=") {
		what += " " + typ
	}
	what = strings.Trim(unnamed.ReplaceAllString(ids.ReplaceAllString(what, ""), "-"), "-")
	return fmt.Sprintf("%s.%x.xml", what[:min(len(what), 120)], shape[:8])
}

// shapeOf sums up the elements and attributes of a document, each with the
// kind of its value, counted once.
func shapeOf(doc []byte) [sha256.Size]byte {
	seen := map[string]bool{}
	var path []string
	for d := xml.NewDecoder(bytes.NewReader(doc)); ; {
		token, err := d.RawToken()
		if err != nil {
			break
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			at := strings.Join(path, "/")
			seen[at] = true
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					seen[at+"@"+a.Name.Local+"="+kindOf(a.Value)] = true
				}
			}
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" {
				seen[strings.Join(path, "/")+"="+kindOf(text)] = true
			}
		case xml.EndElement:
			if len(path) > 0 {
				path = path[:len(path)-1]
			}
		}
	}
	return sha256.Sum256([]byte(strings.Join(slices.Sorted(maps.Keys(seen)), "\n")))
}

// kinds are tried in this order. A word in capitals may be one of a list that
// the schema has: each is a kind of its own.
var kinds = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"number", regexp.MustCompile(`^-?\d+(\.\d+)?$`)},
	{"boolean", regexp.MustCompile(`^(true|false)$`)},
	{"time", regexp.MustCompile(`^\d{4}-\d\d-\d\dT`)},
	{"", regexp.MustCompile(`^[A-Z][A-Z_]{1,30}$`)},
}

func kindOf(v string) string {
	for _, k := range kinds {
		if k.pattern.MatchString(v) {
			if k.name == "" {
				return v
			}
			return k.name
		}
	}
	return "text"
}

// Err is what kept documents from being kept.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
