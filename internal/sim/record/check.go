package record

import (
	"bytes"
	_ "embed" // for newer-elements.txt
	"errors"
	"fmt"
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

// Check has every document of a folder checked by the program `validate` in
// the folder api, and returns how many there were.
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
		if err := os.WriteFile(copied, doc, 0o600); err != nil {
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

func validate(api, newer, work string, batch []string) error {
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
