package director

import "strings"

// queryRefs are the entities that the format references has elements of their
// own for (queryReferenceView.xsd); the others' are plain references.
const queryRefs = " Org OrgVdc Media VAppTemplate VApp VM OrgNetwork VAppNetwork Catalog AdminVdc VMWProviderVdc Network Group User Role Datastore " +
	"NetworkPool VirtualCenter Host Right VAppOrgNetworkRelation CatalogItem Task BlockingTask Disk AdminDisk AdminEvent StrandedItem " +
	"OrgVdcStorageProfile AdminOrgVdcStorageProfile ProviderVdcStorageProfile EdgeGateway OrgVdcNetwork VAppOrgVdcNetworkRelation "

// refKind is the element that refers to what a record describes.
func refKind(tag string) string {
	kind := strings.TrimSuffix(tag, "Record")
	for _, k := range []string{kind, strings.TrimPrefix(kind, "Admin")} {
		if strings.Contains(queryRefs, " "+k+" ") {
			return k + "Reference"
		}
	}
	return "Reference"
}

// toReferences turns the result of a query from records to references.
func toReferences(d *node) {
	d.Tag = "References"
	for _, r := range d.ChildElements() {
		if r.Tag == "Link" {
			continue
		}
		kind := refKind(r.Tag)
		if kind != "Reference" {
			d.Tag = kind + "s"
		}
		ref := el(kind, "href", r.SelectAttrValue("href", ""), "id", r.SelectAttrValue("id", ""), "name", r.SelectAttrValue("name", ""))
		for _, a := range ref.Attr {
			if a.Value == "" {
				ref.RemoveAttr(a.Key)
			}
		}
		d.InsertChildAt(r.Index(), ref)
		d.RemoveChild(r)
	}
}
