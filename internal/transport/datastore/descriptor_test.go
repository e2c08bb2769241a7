package datastore

import (
	"strings"
	"testing"
)

const flatDescriptor = `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
isNativeSnapshot="no"
createType="vmfs"

# Extent description
RW 2097152 VMFS "web 01-flat.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.thinProvisioned = "1"
ddb.uuid = "60 00 C2 9f 8c 4c 84 3e-5c 3b 62 8e 9f 0a 5b 1d"
`

func TestParseDescriptor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		text    string
		flat    string
		size    int64
		problem string // part of the error
	}{
		{"a flat disk", flatDescriptor, "web 01-flat.vmdk", 1 << 30, ""},
		{"an extent at offset 0", strings.Replace(flatDescriptor, `vmdk"`, `vmdk" 0`, 1), "web 01-flat.vmdk", 1 << 30, ""},
		{"line ends of Windows", strings.ReplaceAll(flatDescriptor, "\n", "\r\n"), "web 01-flat.vmdk", 1 << 30, ""},
		{"an extent further in", strings.Replace(flatDescriptor, `vmdk"`, `vmdk" 63`, 1), "", 0, "not a flat file"},
		{"a delta", strings.Replace(flatDescriptor, "VMFS", "VMFSSPARSE", 1), "", 0, "not a flat file"},
		{"a device", strings.Replace(flatDescriptor, "VMFS", "VMFSRDM", 1), "", 0, "not a flat file"},
		{"an extent that cannot be written", strings.Replace(flatDescriptor, "RW", "RDONLY", 1), "", 0, "not a flat file"},
		{"a child", strings.Replace(flatDescriptor, "parentCID=ffffffff", "parentCID=fffffffe", 1), "", 0, "parent"},
		{"two extents", flatDescriptor + "RW 512 VMFS \"b-flat.vmdk\"\n", "", 0, "more than one extent"},
		{"no extent", strings.Replace(flatDescriptor, "RW", "# RW", 1), "", 0, "no extent"},
		{"an extent elsewhere", strings.Replace(flatDescriptor, "web 01-", "../other/", 1), "", 0, "not in its folder"},
		{"an extent without a name", strings.Replace(flatDescriptor, `"web 01-flat.vmdk"`, "", 1), "", 0, "not in its folder"},
		{"too many sectors", strings.Replace(flatDescriptor, "2097152", "99999999999999999999", 1), "", 0, "no size"},
		{"something else", "KDMV\x00\x00", "", 0, "not the descriptor"},
		{"nothing", "", "", 0, "not the descriptor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flat, size, err := parseDescriptor(c.text)
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Errorf("got %v, want an error about %q", err, c.problem)
				}
				return
			}
			if err != nil || flat != c.flat || size != c.size {
				t.Errorf("got %q, %d, %v; want %q, %d", flat, size, err, c.flat, c.size)
			}
		})
	}
}

func FuzzParseDescriptor(f *testing.F) {
	f.Add(flatDescriptor)
	f.Fuzz(func(t *testing.T, text string) {
		flat, size, err := parseDescriptor(text)
		if err == nil && (flat == "" || strings.Contains(flat, "/") || size < 0) {
			t.Errorf("got %q of %d bytes", flat, size)
		}
	})
}
