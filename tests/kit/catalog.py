"""What a database's catalogue says of our schema: one line a fact, for two of them to be compared."""

import asyncpg

_ACL = "coalesce((select string_agg(a::text, ' ' order by a::text) from unnest({0}) a), 'default')"
_FACTS = {
    "schema": f"select {_ACL.format('n.nspacl')} from pg_namespace n where n.nspname = 'chimeway'",
    "relation": f"""
        select c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relreplident,
               coalesce(c.reloptions::text, ''), {_ACL.format("c.relacl")}, pg_get_userbyid(c.relowner)
          from pg_class c where c.relnamespace = 'chimeway'::regnamespace""",
    "column": f"""
        select c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               a.attstorage, a.attidentity, a.attgenerated, a.attcollation,
               coalesce(pg_get_expr(d.adbin, d.adrelid), ''), {_ACL.format("a.attacl")}
          from pg_attribute a join pg_class c on c.oid = a.attrelid
          left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where c.relnamespace = 'chimeway'::regnamespace and a.attnum > 0 and not a.attisdropped""",
    "constraint": """
        select conrelid::regclass, conname, contype, convalidated, pg_get_constraintdef(oid)
          from pg_constraint where connamespace = 'chimeway'::regnamespace""",
    "index": """
        select i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisunique
          from pg_index i join pg_class c on c.oid = i.indexrelid
         where c.relnamespace = 'chimeway'::regnamespace""",
    "function": f"""
        select p.oid::regprocedure, pg_get_functiondef(p.oid), {_ACL.format("p.proacl")},
               pg_get_userbyid(p.proowner)
          from pg_proc p where p.pronamespace = 'chimeway'::regnamespace""",
    "trigger": """
        select t.tgrelid::regclass, pg_get_triggerdef(t.oid), t.tgenabled
          from pg_trigger t join pg_class c on c.oid = t.tgrelid
         where c.relnamespace = 'chimeway'::regnamespace and not t.tgisinternal""",
    "sequence": """
        select c.relname, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle
          from pg_sequence s join pg_class c on c.oid = s.seqrelid
         where c.relnamespace = 'chimeway'::regnamespace""",
    "type": """
        select t.typname, t.typtype, t.typcategory from pg_type t
         where t.typnamespace = 'chimeway'::regnamespace""",
    "comment": """
        select pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description from pg_description d
         where pg_describe_object(d.classoid, d.objoid, d.objsubid) like '%chimeway%'""",
    "policy": "select p.polname from pg_policy p",
    "view": "select v.viewname, v.definition from pg_views v where v.schemaname = 'chimeway'",
    "default rights": "select d.defaclobjtype, d.defaclacl from pg_default_acl d",
}


async def catalogue(url: str) -> list[str]:
    """Return all facts about our schema, sorted, each with its kind."""
    connection = await asyncpg.connect(url)
    try:
        return sorted(
            [
                f"{kind}: {row['line']}"
                for kind, sql in _FACTS.items()
                for row in await connection.fetch(f"select f::text as line from ({sql}) f")
            ]
        )
    finally:
        await connection.close()
