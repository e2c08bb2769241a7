package diff

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/vappvault/vappvault/internal/document"
)

// words turns the differences of one document into something to read.
type words struct {
	doc, object string
	was, is     map[string]string // path -> text, without secrets
	// wasWhole and isWhole are the same with secrets. No text of theirs is
	// ever shown, nor a path where a path can hold one.
	wasWhole, isWhole map[string]string
	// repeats tells whether a section stands in a document of its own.
	repeats func(section string) bool
}

// fields lists what differs, in the order of the document. What is there on
// one side only is told once, not field by field.
func (w words) fields() []Field {
	paths := map[string]bool{}
	sides := []map[string]string{w.was, w.is, w.wasWhole, w.isWhole}
	if strings.HasSuffix(w.doc, ".json") {
		sides = sides[:2] // elements of lists are named by what they hold
	}
	for _, side := range sides {
		for p := range side {
			paths[p] = true
		}
	}
	var out []Field
	told := map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		was, before := w.was[p]
		is, after := w.is[p]
		f := Field{Change: Changed, Was: was, Is: is, Document: w.doc, Path: p}
		switch {
		case before == after && was == is: // unless it is a secret
			if f.Change = w.secret(p); f.Change == "" {
				continue
			}
		case !before || !after:
			f.Change, f.Path = Removed, w.whole(p)
			if !before {
				f.Change = Added
			}
			if told[f.Path] {
				continue
			}
			told[f.Path] = true
			if f.Path != p {
				f.Was, f.Is = w.gist(w.was, f.Path), w.gist(w.is, f.Path)
			}
		}
		if document.IsSecret(p, w.was, w.is) {
			f.Was, f.Is = "", ""
		}
		f.Volatile = w.volatile(f.Path)
		w.word(&f)
		out = append(out, f)
	}
	return out
}

// secret tells what became of a field that is a secret: "" for nothing.
func (w words) secret(p string) string {
	was, before := w.wasWhole[p]
	is, after := w.isWhole[p]
	switch {
	case before == after && was == is:
		return ""
	case !before:
		return Added
	case !after:
		return Removed
	}
	return Changed
}

// whole returns the path of the largest element with the field of which the
// other side has nothing: the field itself, where it has all but that.
func (w words) whole(field string) string {
	other := w.was
	if _, before := w.was[field]; before {
		other = w.is
	}
	parts := components(field)
	for n := 3; n < len(parts); n++ { // both have a root
		prefix := strings.Join(parts[:n], "/")
		there := false
		for p := range other {
			if p == prefix || strings.HasPrefix(p, prefix+"/") {
				there = true
				break
			}
		}
		if name, _, _ := strings.Cut(parts[n-1], "#"); !there && !slices.Contains(noise, name) {
			return prefix
		}
	}
	return field
}

// gist says in a word what an element is about.
func (w words) gist(side map[string]string, prefix string) string {
	for _, name := range []string{"/TypedValue/Value", "/Value", "/@value", "/@network", "/Name", "/Description", "/ElementName", "/AccessLevel", "/@name"} {
		if text := side[prefix+name]; text != "" && !document.IsSecret(prefix+name, side) {
			return text
		}
	}
	return ""
}

// leaf is the last component of a path.
func leaf(p string) string {
	parts := components(p)
	name, _, _ := strings.Cut(parts[len(parts)-1], "[")
	name, _, _ = strings.Cut(name, "#")
	return name
}

// components cuts a path at its slashes, those within brackets left alone. The
// first component is empty: paths begin with a slash.
func components(p string) []string {
	var out []string
	depth, from := 0, 0
	for i := range len(p) {
		switch p[i] {
		case '[':
			depth++
		case ']':
			depth = max(0, depth-1)
		case '/':
			if depth == 0 {
				out = append(out, p[from:i])
				from = i + 1
			}
		}
	}
	return append(out, p[from:])
}

// tells are fields that cannot be restored as they are, but whose change is
// worth knowing.
var tells = []string{"status", "SnapshotSection", "MediaSection", "autoNature", "BackwardCompatibilityMode"}

// usage are fields that say how much of something is in use at the moment.
var usage = []string{
	"Used", "UsedMB", "StorageUsedMB", "StorageUsed", "Allocated", "Overhead", "Reserved", "UsedIpCount", "IopsAllocated", "NumberOfVMs",
	"UsedIPCount", "UsedNetworkCount", "StoredVMs", "DeployedVMs", "IsExpired", "ResourceEntities", "lastLogin", "InUse", "used", "consumed", "allocated",
}

// volatile says why a field differs all the time or says what another does.
func (w words) volatile(field string) string {
	parts := components(field)[1:]
	if len(parts) > 1 && w.repeats != nil {
		if section, _, _ := strings.Cut(parts[1], "["); w.repeats(strings.TrimSuffix(section, "#2")) {
			return "a document of its own says so"
		}
	}
	switch {
	case strings.HasPrefix(w.doc, "vsphere/"):
		return "vSphere's own"
	case strings.Contains(strings.ToLower(path.Base(w.doc)), "record"):
		return "the list of the query service repeats it"
	case strings.HasPrefix(w.doc, "vcd/networks/"), strings.HasSuffix(w.doc, "/networkSection.xml"):
		return "the vApp's network configuration says so"
	case len(parts) > 2 && strings.HasPrefix(parts[1], "VmSpecSection") && slices.Contains([]string{"DiskSection", "MediaSection", "MemoryResourceMb", "NumCpus", "NumCoresPerSocket", "CpuResourceMhz"}, strings.TrimSuffix(parts[2], "#2")):
		return "the virtual hardware says so"
	}
	if strings.HasPrefix(w.doc, "vcd/context/") && w.isUsage(parts) {
		return "says what is in use"
	}
	if why := w.hardware(parts); why != "" {
		return why
	}
	for _, part := range parts {
		name, _, _ := strings.Cut(part, "[")
		if slices.Contains(tells, strings.TrimPrefix(name, "@")) {
			return ""
		}
	}
	return document.Reason(field)
}

// isUsage tells whether a field of a document of what the vApp refers to says
// how much of it is in use.
func (w words) isUsage(parts []string) bool {
	_, kind, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(path.Base(w.doc), ".json"), ".xml"), ".")
	if slices.Contains([]string{"allocatedAddresses", "allocatedIpAddresses", "usedIpAddresses"}, kind) {
		return true
	}
	for _, part := range parts {
		name, _, _ := strings.Cut(part, "[")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "@"), "#")
		if inUse(name) || name == "Allocation" && strings.HasPrefix(w.doc, "vcd/context/providerVDCs/") {
			return true
		}
	}
	return false
}

func inUse(name string) bool {
	return slices.ContainsFunc(usage, func(known string) bool { return strings.EqualFold(known, name) })
}

// withoutUsage leaves out of a JSON document what says how much is in use:
// the elements of its lists are named by all that they hold.
func withoutUsage(doc []byte) []byte {
	var value any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if d.Decode(&value) != nil {
		return doc
	}
	var strip func(any)
	strip = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			maps.DeleteFunc(v, func(key string, _ any) bool { return inUse(key) })
			for _, inner := range v {
				strip(inner)
			}
		case []any:
			for _, inner := range v {
				strip(inner)
			}
		}
	}
	strip(value)
	out, err := json.Marshal(value)
	if err != nil {
		return doc
	}
	return out
}

// Types of the items of a hardware section (CIM_ResourceAllocationSettingData).
const (
	typeCPU    = "3"
	typeMemory = "4"
	typeNIC    = "10"
	typeDisk   = "17"
)

// item returns the path of the hardware item that a field is of, and its type.
func (w words) item(parts []string) (prefix, kind string) {
	if len(parts) < 2 || parts[0] != "VirtualHardwareSection" || !strings.HasPrefix(parts[1], "Item") {
		return "", ""
	}
	prefix = "/" + parts[0] + "/" + parts[1]
	for _, side := range []map[string]string{w.is, w.was} {
		if kind := side[prefix+"/ResourceType"]; kind != "" {
			return prefix, kind
		}
	}
	return prefix, ""
}

// hardware says why a field of a hardware item needs no words of its own.
func (w words) hardware(parts []string) string {
	prefix, kind := w.item(parts)
	switch {
	case prefix == "":
		return ""
	case kind == typeNIC:
		return "the network connections say so"
	case kind == typeDisk:
		return "the list of disks says so"
	case (kind == typeCPU || kind == typeMemory) && len(parts) > 2 && parts[2] == "ElementName":
		return "follows from the quantity"
	}
	return ""
}

// word gives a field its object and says what it is.
func (w words) word(f *Field) {
	f.Object = w.object
	if f.Path == "/Owner/User/@name" {
		f.What = "owner"
		return
	}
	parts := components(f.Path)[1:]
	if prefix, kind := w.item(parts); prefix != "" {
		w.hardwareWords(f, prefix, kind, parts)
		return
	}
	var what []string
	if !strings.HasSuffix(w.doc, ".json") && len(parts) > 0 {
		parts = parts[1:] // the first is the document itself
	}
	for _, part := range parts {
		name, key := part, ""
		if i := strings.IndexByte(part, '['); i >= 0 && strings.Contains(part[i:], "]") {
			end := strings.LastIndexByte(part, ']')
			name, key = part[:i]+part[end+1:], part[i+1:end]
		}
		name, number, _ := strings.Cut(name, "#")
		switch {
		case name == "NetworkConfig" && key != "":
			f.Object, what = "network "+key, nil
			continue
		case slices.Contains(noise, name):
			continue
		}
		text := split(strings.TrimPrefix(name, "@"))
		if known := names[name]; known != "" {
			text = known
		}
		if name == "MetadataEntry" {
			key = strings.Replace(key, "SYSTEM,", "(system) ", 1)
		}
		switch {
		case key != "":
			text += " " + strings.ReplaceAll(key, "∕", "/")
		case number != "":
			text += " " + number
		case slices.Contains(numbered, name):
			text += " 1"
		}
		what = append(what, text)
	}
	f.What = strings.Join(what, ": ")
	if f.What == "" {
		f.What = split(strings.TrimPrefix(leaf(f.Path), "@"))
		if f.Object != w.object {
			f.What = "network"
		}
	}
	if f.What == "" { // whatever it is
		f.What = cmp.Or(f.Path, "document")
	}
	f.Was, f.Is = value(leaf(f.Path), f.Was), value(leaf(f.Path), f.Is)
	f.What = strings.TrimSuffix(f.What, " in seconds") // the values are worded
}

func (w words) hardwareWords(f *Field, prefix, kind string, parts []string) {
	field := strings.Join(parts[2:], ": ")
	switch {
	case kind == typeMemory && field == "VirtualQuantity":
		f.What = "memory"
		f.Was, f.Is = unit(f.Was, "MB"), unit(f.Is, "MB")
	case kind == typeCPU && field == "VirtualQuantity":
		f.What = "CPUs"
	case kind == typeCPU:
		f.What = "CPU: " + split(field)
	case kind == typeMemory:
		f.What = "memory: " + split(field)
	default:
		name := w.is[prefix+"/ElementName"]
		if name == "" {
			name = w.was[prefix+"/ElementName"]
		}
		f.What = strings.TrimSpace("hardware " + name)
		if field != "" {
			f.What += ": " + split(strings.TrimPrefix(field, "@"))
		}
	}
}

func unit(text, unit string) string {
	if text == "" {
		return ""
	}
	return text + " " + unit
}

// noise are elements that hold others and say nothing themselves.
var noise = []string{
	"Configuration", "Features", "NatService", "VmRule", "OneToOneVmRule", "PortForwardingRule", "TypedValue", "Value", "IpScopes", "AccessSettings",
	"StaticRoutingService", "LeaseSettingsSection", "Params",
}

// numbered are elements that the schema gives no key.
var numbered = []string{"NatRule", "StaticRoute", "IpRange", "IpScope"}

// names are what people call elements.
var names = map[string]string{
	"NatRule": "NAT rule", "FirewallRule": "firewall rule", "FirewallService": "firewall", "DhcpService": "DHCP", "StaticRoute": "static route",
	"NetworkConnection": "NIC", "MetadataEntry": "metadata", "AccessSetting": "access of", "Item": "startup of", "MACAddress": "MAC address",
	"IpAddressAllocationMode": "address mode", "IpAddress": "IP address", "VAppScopedVmId": "VM", "VmNicId": "NIC", "ProductSection": "product section",
	"Property": "property", "IpRange": "range", "IpScope": "scope", "ParentNetwork": "parent network", "FenceMode": "fence mode",
}

// acronyms are words that are not written in small letters.
var acronyms = map[string]string{
	"ip": "IP", "mac": "MAC", "dns": "DNS", "dns1": "DNS 1", "dns2": "DNS 2", "nat": "NAT", "dhcp": "DHCP", "cpu": "CPU", "vm": "VM", "os": "OS",
	"id": "ID", "nic": "NIC", "url": "URL", "vdc": "VDC", "mb": "MB", "sid": "SID", "vcpu": "vCPU", "tpm": "TPM",
}

// split writes CamelCase as words.
func split(name string) string {
	var out []string
	var word strings.Builder
	flush := func() {
		if word.Len() == 0 {
			return
		}
		text := strings.ToLower(word.String())
		if known := acronyms[text]; known != "" {
			text = known
		}
		out = append(out, text)
		word.Reset()
	}
	r := []rune(name)
	for i, c := range r {
		begins := unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1]))
		if begins {
			flush()
		}
		word.WriteRune(c)
	}
	flush()
	return strings.Join(out, " ")
}

// statuses are what vCD's numbers mean (ResourceType, attribute status).
var statuses = map[string]string{
	"-1": "failed to create", "0": "unresolved", "1": "resolved", "3": "suspended", "4": "on", "5": "waiting for input", "6": "unknown", "8": "off", "9": "inconsistent", "10": "mixed", "20": "partially on", "21": "partially suspended",
}

// value words a text where a field's own way is hard to read.
func value(field, text string) string {
	switch {
	case field == "@status" && statuses[text] != "":
		return statuses[text]
	case strings.HasSuffix(field, "InSeconds"):
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
		case n == 0:
			return "never"
		case n < 1<<33:
			return (time.Duration(n) * time.Second).String()
		}
	}
	return text
}
