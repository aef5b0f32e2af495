// What a dashboard of ours may be: Grafana's published types, narrowed to the panels that we use. Where those take any
// object, as options, these do not.
import type { Dashboard, DataQuery, DataSourceRef, FieldConfigSource, Panel, TableFieldOptions, TableOptions } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has the values of enums, not their names.
type Values<T> = T extends string
  ? `${T}`
  : T extends number
    ? `${T}` extends `${infer N extends number}` ? N : never
    : T extends (infer U)[]
      ? Values<U>[]
      : T extends object
        ? { [K in keyof T]: Values<T[K]> }
        : T;

interface Target extends DataQuery {
  datasource: DataSourceRef;
  expr: string;
  legendFormat: string;
  instant?: boolean;
  range?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
}

type Of<Type extends string, Options, Custom = Record<never, never>> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Type;
  options: Options;
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & { defaults: Omit<FieldConfigSource['defaults'], 'custom'> & { custom?: Custom } };
  targets: Target[];
};

type Ours =
  | Of<'stat', stat.Options>
  | Of<'bargauge', bargauge.Options>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Of<'table', TableOptions, TableFieldOptions>;

export type Checked = Values<Omit<Dashboard, 'panels'> & { panels: Ours[] }>;
