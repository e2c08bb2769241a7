package vcenter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vappvault/vappvault/internal/sim/vdisk"
)

const sectorSize = 512

// A descriptor is the text file x.vmdk that names the extent file with the
// disk's content.
type descriptor struct {
	size   int64  // bytes
	extent string // file name
	kind   string // vmfs or vmfsSparse
	parent string // file name, of a delta
	thin   bool
	uuid   string
	cid    uint32
}

func (d descriptor) encode() []byte {
	var b bytes.Buffer
	create, parentCID := "vmfs", "ffffffff"
	if d.parent != "" {
		create, parentCID = "vmfsSparse", fmt.Sprintf("%08x", d.cid)
	}
	fmt.Fprintf(&b, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=%08x\nparentCID=%s\ncreateType=%q\n", d.cid, parentCID, create)
	if d.parent != "" {
		fmt.Fprintf(&b, "parentFileNameHint=%q\n", d.parent)
	}
	fmt.Fprintf(&b, "\n# Extent description\nRW %d %s %q\n", d.size/sectorSize, strings.ToUpper(d.kind), d.extent)
	fmt.Fprintf(&b, "\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"%d\"\n", d.size/sectorSize/255/63)
	fmt.Fprintf(&b, "ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n")
	if d.thin {
		fmt.Fprintf(&b, "ddb.thinProvisioned = \"1\"\n")
	}
	fmt.Fprintf(&b, "ddb.uuid = %q\nddb.virtualHWVersion = \"19\"\n", d.uuid)
	return b.Bytes()
}

func readDescriptor(path string) (descriptor, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return descriptor{}, err
	}
	if fi.Size() > 1<<20 {
		return descriptor{}, fmt.Errorf("%s: not a disk descriptor", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return descriptor{}, err
	}
	d, err := parseDescriptor(raw)
	if err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func parseDescriptor(raw []byte) (descriptor, error) {
	var d descriptor
	if !bytes.HasPrefix(raw, []byte("# Disk DescriptorFile")) {
		return d, errors.New("not a disk descriptor")
	}
	for sc := bufio.NewScanner(bytes.NewReader(raw)); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		if strings.HasPrefix(line, "RW ") {
			f := strings.SplitN(line, " ", 4)
			if len(f) == 4 {
				n, _ := strconv.ParseInt(f[1], 10, 64)
				n = min(n, vdisk.MaxSize/sectorSize+1) // more would not fit into bytes
				d.size, d.kind = n*sectorSize, strings.ToLower(f[2])
				d.extent = strings.Trim(f[3], `"`)
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.TrimSpace(key) {
		case "parentFileNameHint":
			d.parent = value
		case "ddb.uuid":
			d.uuid = value
		case "ddb.thinProvisioned":
			d.thin = value == "1"
		case "CID":
			n, _ := strconv.ParseUint(value, 16, 32)
			d.cid = uint32(n)
		}
	}
	if d.extent == "" || strings.ContainsAny(d.extent, "/\\") || d.size <= 0 || d.size > vdisk.MaxSize {
		return d, errors.New("no usable extent")
	}
	return d, nil
}
