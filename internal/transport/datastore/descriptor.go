package datastore

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxDescriptor is more than any descriptor of a base disk takes, and little
// enough to fetch what turns out to be something else.
const maxDescriptor = 64 << 10

const sectorSize = 512

// extentLine is an extent of a descriptor: access, sectors, type, file and,
// with some types, an offset.
var extentLine = regexp.MustCompile(`^(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\S+)(?:\s+"([^"]*)"(?:\s+(\d+))?)?\s*$`)

// parseDescriptor reads the text that stands for a virtual disk on its
// datastore. It returns the name of the one flat file that holds the disk, and
// its size in bytes; any other kind of disk is an error.
//
// The form is described in VMware's "Virtual Disk Format 5.0", section "The
// Descriptor File".
func parseDescriptor(text string) (name string, size int64, err error) {
	if !strings.HasPrefix(strings.TrimSpace(text), "# Disk DescriptorFile") {
		return "", 0, fmt.Errorf("not the descriptor of a disk")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, isSetting := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isSetting && strings.TrimSpace(key) == "parentCID":
			if v := strings.TrimSpace(value); !strings.EqualFold(v, "ffffffff") {
				return "", 0, fmt.Errorf("the disk has a parent (parentCID=%s)", v)
			}
		case isSetting:
		default:
			if name != "" {
				return "", 0, fmt.Errorf("the disk has more than one extent")
			}
			if name, size, err = parseExtent(line); err != nil {
				return "", 0, err
			}
		}
	}
	if name == "" {
		return "", 0, fmt.Errorf("the disk has no extent")
	}
	return name, size, nil
}

func parseExtent(line string) (name string, size int64, err error) {
	m := extentLine.FindStringSubmatch(line)
	if m == nil {
		return "", 0, fmt.Errorf("descriptor line %.80q is not understood", line)
	}
	if m[1] != "RW" || m[3] != "VMFS" || m[5] != "" && m[5] != "0" {
		return "", 0, fmt.Errorf("the disk's extent is not a flat file (%.80q)", line)
	}
	if m[4] == "" || strings.Contains(m[4], "/") {
		return "", 0, fmt.Errorf("the disk's extent is not in its folder (%.80q)", line)
	}
	sectors, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil || sectors > 1<<62/sectorSize {
		return "", 0, fmt.Errorf("the disk's extent has no size (%.80q)", line)
	}
	return m[4], sectors * sectorSize, nil
}
