package record

import (
	"bytes"
	_ "embed" // for newer-elements.txt
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// newerElements are those that the schemas do not have yet, with their sources.
//
//go:embed newer-elements.txt
var newerElements []byte

// What else versions after the schemas' brought:
var (
	// attributes (QueryResultVAppNetworkRecordType; DiskType, since 33.0 and
	// 36.0, of which the first had another name before; QueryResultVMRecordType
	// and QueryResultAdminVMRecordType of the reference of 38.0 and 39.1),
	newerAttributes = regexp.MustCompile(` isLinked="[a-z]+"`)
	disk            = regexp.MustCompile(`<Disk [^>]*>`)
	vmRecord        = regexp.MustCompile(`<(Admin)?VMRecord [^>]*>`)
	ofVMRecord      = regexp.MustCompile(` (vdcName|description|vappScopedLocalId|dateCreated|isExpired|vmNameInVc)="[^"]*"`)
	ipOfAdminRecord = regexp.MustCompile(`(<AdminVMRecord [^>]*?) ipAddress="[^"]*"`)
	ofDisk          = regexp.MustCompile(` (encrypted|shareable|sharingType|uuid)="[^"]*"`)
	// and whole documents.
	newerRoots = regexp.MustCompile(`^\s*(?:<\?[^>]*>\s*)?<(VdcComputePolicyReferences|TrustedPlatformModule)[ >]`)

	// vCD takes these two of a DiskSettings in either order (go-vcloud-director
	// sends the quantity first); the schema has one.
	quantityFirst = regexp.MustCompile(`(<VirtualQuantity>[^<]*</VirtualQuantity>)\s*(<VirtualQuantityUnit>[^<]*</VirtualQuantityUnit>)`)

	// The program cuts newer elements out, and wants their end tags for it.
	emptyTag = regexp.MustCompile(`<([A-Za-z:]+)((?: [^<>]*)?)/>`)
)

// bodyOf begins the names of the files that hold what clients sent.
const bodyOf = "body-of-"

// today makes a document one of the schemas' time; nil where there was none
// like it.
func today(doc []byte) []byte {
	if newerRoots.Match(doc) {
		return nil
	}
	doc = newerAttributes.ReplaceAll(doc, nil)
	doc = vmRecord.ReplaceAllFunc(doc, func(tag []byte) []byte { return ofVMRecord.ReplaceAll(tag, nil) })
	doc = ipOfAdminRecord.ReplaceAll(doc, []byte("$1"))
	doc = disk.ReplaceAllFunc(doc, func(tag []byte) []byte {
		return bytes.Replace(ofDisk.ReplaceAll(tag, nil), []byte(` sizeMb="`), []byte(` size="`), 1)
	})
	return emptyTag.ReplaceAll(doc, []byte("<$1$2></$1>"))
}

// Check has every document of a folder checked against the schemas in the
// folder api, and returns how many there were. Reading the schemas takes longer
// than any document, so one process checks many; where it finds a fault, the
// program `validate` in that folder has the word, which goes document by
// document.
func Check(dir, api string) (int, error) {
	work, err := os.MkdirTemp("", "check")
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	newer := filepath.Join(work, "newer")
	if err := os.WriteFile(newer, newerElements, 0o600); err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	known, err := elements(api)
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	var batches [2][]string // one for each of so many processes
	for i, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("record: %w", err)
		}
		if strings.HasPrefix(filepath.Base(file), bodyOf) {
			doc = quantityFirst.ReplaceAll(doc, []byte("$2$1"))
		}
		if doc = today(doc); doc == nil {
			continue
		}
		copied := filepath.Join(work, filepath.Base(file))
		err = errors.Join(os.WriteFile(copied, doc, 0o600), os.WriteFile(copied+older, without(doc, known), 0o600))
		if err != nil {
			return 0, fmt.Errorf("record: %w", err)
		}
		n := i % len(batches)
		batches[n] = append(batches[n], copied)
	}
	problems := make([]error, len(batches))
	var group sync.WaitGroup
	for i, batch := range batches {
		if len(batch) > 0 {
			group.Go(func() { problems[i] = validate(api, newer, work, batch) })
		}
	}
	group.Wait()
	return len(files), errors.Join(problems...)
}

// older ends the names of the copies that lack newer elements.
const older = ".older"

// elements are the names of those that the schemas do not have: ours, and those
// listed beside the schemas.
func elements(api string) (map[string]bool, error) {
	listed, err := os.ReadFile(filepath.Join(api, "newer-elements.txt"))
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(newerElements) + "\n" + string(listed)) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "" && name[0] != '#' {
			out[name] = true
		}
	}
	return out, nil
}

// without is a document without the elements of these names, byte for byte as
// it was otherwise. What is not well-formed is left as it is.
func without(doc []byte, names map[string]bool) []byte {
	var out []byte
	kept, depth := int64(0), 0 // what is copied, and how deep in one that is left out
	d := xml.NewDecoder(bytes.NewReader(doc))
	for {
		from := d.InputOffset()
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return append(out, doc[kept:]...)
		}
		if err != nil {
			return doc
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth == 0 && !names[t.Name.Local] {
				continue
			}
			if depth++; depth == 1 {
				out = append(out, doc[kept:from]...)
			}
		case xml.EndElement:
			if depth == 0 {
				continue
			}
			if depth--; depth == 0 {
				kept = d.InputOffset()
			}
		}
	}
}

func validate(api, newer, work string, batch []string) error {
	args := []string{"--noout", "--nonet", "--schema", filepath.Join(api, "xsd", "vcloud-all.xsd")}
	for _, file := range batch {
		args = append(args, file+older)
	}
	if exec.Command("xmllint", args...).Run() == nil {
		return nil
	}
	out, err := exec.Command(filepath.Join(api, "validate"), append([]string{"--newer", newer}, batch...)...).CombinedOutput()
	if err == nil {
		return nil
	}
	// What is said of a file once, without the paths.
	var lines []string
	for line := range strings.Lines(string(bytes.ReplaceAll(out, []byte(work+"/"), nil))) {
		if !strings.HasSuffix(strings.TrimSpace(line), "fails to validate") && !strings.HasSuffix(strings.TrimSpace(line), ": invalid") {
			lines = append(lines, line)
		}
	}
	return fmt.Errorf("%w\n%s", err, strings.Join(lines, ""))
}
